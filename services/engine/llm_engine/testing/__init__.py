"""Helpers for the tests of several projects."""
