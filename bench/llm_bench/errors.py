"""Errors that the user reads when the bench cannot go on.

BenchError
├─ ScenarioError  the scenario file, a length or a flag is wrong
├─ TargetError    nothing usable answers at the target URL
└─ ResultError    a results folder cannot be read or written
"""

from __future__ import annotations


class BenchError(Exception):
    """The message says what was wrong, what is allowed and what to do."""


class ScenarioError(BenchError):
    pass


class TargetError(BenchError):
    pass


class ResultError(BenchError):
    pass
