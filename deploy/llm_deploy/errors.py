"""Errors that end a command with one line for the user.

DeployError
└── UsageError   the command line or a file asks for something that does not exist
"""

from __future__ import annotations


class DeployError(Exception):
    """An operation failed; the message says what was wrong and what to do."""

    exit_code = 1


class UsageError(DeployError):
    exit_code = 2
