"""Finds personal data and credentials in an event and says what becomes of each (CLS-01, 02, 03, 05)."""
