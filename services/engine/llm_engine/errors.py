"""Errors, by whose fault they are.

EngineError
├─ ModelError     the folder, checkpoint or hardware does not fit: said once, at start
├─ RequestError   one request asks for what cannot be done: its caller gets the message, the engine goes on
├─ RequestFailed  an error inside the engine ended one request; the log has its traceback, the engine goes on
├─ NumericalError the model computed something that is no number
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


class RequestFailed(EngineError):
    """An error inside the engine ended one request; the others go on."""


class NumericalError(EngineError):
    """The model's logits hold NaN or infinity, so no token can be drawn."""


class EngineDead(EngineError):
    """The engine stopped after an error inside a step."""
