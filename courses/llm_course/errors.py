"""Errors that the course's commands explain in one line."""

from __future__ import annotations


class CourseError(Exception):
    """Something that the person at the terminal can read and act on."""

    exit_code = 1


class UsageError(CourseError):
    exit_code = 2
