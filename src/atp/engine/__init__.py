"""Engines: the databases, keys, settings and telemetry that contexts stand on; nothing here knows of audit events."""
