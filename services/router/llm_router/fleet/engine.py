"""An engine as its replica publishes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The facts about an engine that do not change while it lives."""

    id: str
    """Serve's unique replica id, or the URL of a static engine."""
    model: str
    url: str
    version: str
    """Hash of the application's arguments, 8 hex digits."""
    gpus: tuple[str, ...] = ()
    node: str = ""
    pid: int = 0
    """Process of the replica actor."""
    engine_pid: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "gpus": list(self.gpus)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "gpus": tuple(values.get("gpus", ()))})
