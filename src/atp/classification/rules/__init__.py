"""The pure decisions of classification: walk, scan, detect, decide, protect."""
