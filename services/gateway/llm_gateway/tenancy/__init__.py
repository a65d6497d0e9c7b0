"""Tenants: who sends a request, how much they may send, and how much they have used."""
