"""All errors of the engine.

EngineError
├─ ModelError      the folder, the checkpoint or the hardware does not fit; raised once, at start
├─ RequestError    one request asks for something impossible; its caller gets the message, the engine goes on
│  └─ ContextLengthError
├─ RequestFailed   a defect of the engine ended one request; the log has the traceback, the engine goes on
├─ NumericalError  the logits hold NaN or infinity
└─ EngineDead      a step failed; the engine serves nothing more
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors of the engine. The message says what was wrong, what is allowed and what to do."""


class ModelError(EngineError):
    """A model that cannot be served with these settings."""


class RequestError(EngineError):
    """A request that cannot be served; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ContextLengthError(RequestError):
    """A prompt and an output that do not fit in the model's context."""


class RequestFailed(EngineError):
    """An error inside the engine that ended one request; the others go on."""


class NumericalError(EngineError):
    """Logits with NaN or infinity, from which no token can be drawn."""


class EngineDead(EngineError):
    """An error inside a step, which stopped the engine."""
