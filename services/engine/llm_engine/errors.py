"""What can go wrong, by whose fault.

EngineError
├─ ModelError     the folder, checkpoint or hardware does not fit: said once, at start
├─ RequestError   one request asks for what cannot be done: the caller is told, the engine goes on
└─ EngineDead     a step failed: nothing more can be served
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors of the engine; the message says what was wrong, what is allowed and what to do."""


class ModelError(EngineError):
    """The model cannot be served as asked."""


class RequestError(EngineError):
    """The request cannot be served; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthError(RequestError):
    """Prompt and requested output do not fit in the model's context."""


class EngineDead(EngineError):
    """The engine stopped after an error inside a step."""
