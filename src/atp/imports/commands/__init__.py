"""The import itself: read, map, send, acknowledge."""
