"""Errors that ./lab explains in one line, each with its exit status."""

from __future__ import annotations

EXIT_INTERRUPTED = 130


class LabError(Exception):
    """Something that the person at the terminal can read and act on."""

    exit_code = 1


class UsageError(LabError):
    exit_code = 2
