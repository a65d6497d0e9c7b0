"""The interface of observers such as metrics and the step trace. The engine calls them in its own thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import Protocol

from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.parallel.collectives import Timeline
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import Sequence
from llm_engine.settings import EngineConfig
from llm_engine.speculation.speculation import Speculation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedEngine:
    """The parts of an engine that observers read. They belong to the engine's thread."""

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
    """A listener to the events of one engine."""

    def watch(self, engine: ObservedEngine) -> None:
        """Receive the engine to observe, once, when it is made."""
        ...

    def queued(self, sequence: Sequence) -> None: ...

    def launched(self, step: Step, now: float) -> None:
        """Observe a step that was scheduled at `now` and launched. Its tokens are not known yet."""
        ...

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Observe a step whose tokens are in their sequences. The sequences' times are not updated yet."""
        ...

    def finished(self, sequence: Sequence) -> None: ...


class Observers:
    """All observers of one engine.

    An error in an event of one sequence is raised and ends its request. An error in an event of a step belongs to no
    request: it is logged once per observer and event, and the step goes on.
    """

    def __init__(self, observers: Ordered[Observer]) -> None:
        self._observers = observers
        self._logged: set[tuple[type, str]] = set()

    def watch(self, engine: ObservedEngine) -> None:
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
            except Exception:  # noqa: BLE001 - records get a gap; requests go on
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
            log.exception("%s.%s failed; its records will have gaps", type(observer).__name__, event)
