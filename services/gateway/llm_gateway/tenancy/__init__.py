"""Tenants: their names and keys, their rate limits, and their usage."""
