"""Capacity planning: KV cache bytes, concurrency, and the replicas that a service level needs."""
