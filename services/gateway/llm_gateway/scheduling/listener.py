"""The interface of somebody who follows the queue; this one ignores everything, which is the default."""

from __future__ import annotations

from llm_contract.errors import ErrorKind
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.waiting import Waiting


class QueueListener:
    """Called by the dispatcher after each change, before the next one. Its methods must not raise and not wait."""

    def watch(self, queue: RequestQueue, pool: EnginePool) -> None:
        """Called once, when the dispatcher is made."""

    def enqueued(self, request: Waiting) -> None:
        """It has its key; if a slot is free, `granted` follows at once."""

    def granted(self, request: Waiting, permit: Permit) -> None: ...

    def released(self, permit: Permit) -> None:
        """The request gave its slot back, whatever became of it."""

    def left(self, request: Waiting, reason: ErrorKind) -> None:
        """It left the queue without a slot."""

    def refused(self, request: Waiting, reason: ErrorKind, message: str) -> None:
        """It was not let in."""

    def close(self) -> None: ...
