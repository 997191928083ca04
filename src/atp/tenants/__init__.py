"""Tenants and their API keys: who may use the platform, where their data lives, what each key may do.

Every change appends a platform record to the tenant's own log in the same transaction (STR-10).
"""
