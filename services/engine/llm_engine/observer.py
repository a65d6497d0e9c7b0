"""Who wants to know what the engine does: metrics, traces. Called in the engine's thread, between its phases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from llm_engine.sampler import Sampled
from llm_engine.scheduler import Step
from llm_engine.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.engine import Engine


class Observer(Protocol):
    def watch(self, engine: Engine) -> None:
        """Once, when the engine is made."""
        ...

    def queued(self, sequence: Sequence) -> None: ...

    def launched(self, step: Step, now: float) -> None:
        """The step was scheduled at `now` and is on its way to the device; nothing of its outcome is known."""
        ...

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Its tokens are known and noted in their sequences, but for the times."""
        ...

    def finished(self, sequence: Sequence) -> None: ...
