"""The error of evaluations, measurements and reports that a user reads."""

from __future__ import annotations


class EvaluationError(Exception):
    """The message says what was wrong, what is allowed and what to do."""
