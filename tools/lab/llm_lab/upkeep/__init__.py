"""Upkeep of the repository: locks, pages and their links, the tests nearest to a change."""
