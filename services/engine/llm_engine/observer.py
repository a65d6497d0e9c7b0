"""Listeners to what the engine does: metrics, traces. Called in the engine's thread, between its phases."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from llm_engine.sampler import Sampled
from llm_engine.scheduler import Step
from llm_engine.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.engine import Engine

log = logging.getLogger(__name__)


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


class Observers:
    """All listeners of one engine.

    An error about one sequence is that sequence's and goes to the caller. An error about a step belongs to no request:
    it is logged, once for each kind, and the step goes on.
    """

    def __init__(self, observers: list[Observer]) -> None:
        self._observers = observers
        self._logged: set[tuple[type, str]] = set()

    def watch(self, engine: Engine) -> None:
        for observer in self._observers:
            observer.watch(engine)

    def queued(self, sequence: Sequence) -> None:
        for observer in self._observers:
            observer.queued(sequence)

    def finished(self, sequence: Sequence) -> None:
        for observer in self._observers:
            observer.finished(sequence)

    def launched(self, step: Step, now: float) -> None:
        for observer in self._observers:
            try:
                observer.launched(step, now)
            except Exception:  # noqa: BLE001 - records have a gap; requests do not suffer
                self._log_once(observer, "launched")

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        for observer in self._observers:
            try:
                observer.computed(step, sampled, now)
            except Exception:  # noqa: BLE001
                self._log_once(observer, "computed")

    def _log_once(self, observer: Observer, event: str) -> None:
        if (type(observer), event) not in self._logged:
            self._logged.add((type(observer), event))
            log.exception("%s.%s failed; its records have gaps from now on", type(observer).__name__, event)
