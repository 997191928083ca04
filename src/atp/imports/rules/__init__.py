"""One module a format: from a source's line to an audit event, purely."""
