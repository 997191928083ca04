"""Judges each event: how long it is kept and what else is asked for. A built-in default until a tenant has rules."""
