"""Listeners to what the engine does, such as metrics and traces. It calls them in its thread, between its phases."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Protocol

from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.config import EngineConfig
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.parallel.collectives import Timeline
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import Sequence
from llm_engine.speculation.speculation import Speculation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """The parts of an engine that observers read; they belong to the engine's thread."""

    config: EngineConfig
    num_blocks: int
    max_model_len: int
    tokenizer: AnyTokenizer
    kv_cache: KVCacheManager
    scheduler: Scheduler
    speculation: Speculation | None
    dtype: str
    """Type of activations and KV cache."""
    kv_bytes_per_block: int
    """Over all layers and ranks, draft model included."""
    timelines: Callable[[], list[Timeline]]
    """Return each rank's part of the last step; empty unless several ranks run and a trace is written."""


class Observer(Protocol):
    def watch(self, engine: EngineView) -> None:
        """Called once, when the engine is made."""
        ...

    def queued(self, sequence: Sequence) -> None: ...

    def launched(self, step: Step, now: float) -> None:
        """Called when the step, scheduled at `now`, is on its way to the device; its outcome is not known yet."""
        ...

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Called when the step's tokens are known and noted in their sequences, before the times are."""
        ...

    def finished(self, sequence: Sequence) -> None: ...


class Observers:
    """All listeners of one engine.

    An error about one sequence is that sequence's and goes to the caller. An error about a step belongs to no request:
    it is logged, once for each kind, and the step goes on.
    """

    def __init__(self, observers: Ordered[Observer]) -> None:
        self._observers = observers
        self._logged: set[tuple[type, str]] = set()

    def watch(self, engine: EngineView) -> None:
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
