"""The interface of a part that follows the queue, such as the queue trace."""

from __future__ import annotations

from llm_contract.errors import ErrorKind
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting


class QueueListener:
    """A listener that ignores everything, which is the default.

    The dispatcher calls it after each change, before the next one. Methods must neither raise nor wait.
    """

    def watch(self, queue: RequestQueue, pool: EnginePool) -> None:
        """Receive the parts to follow, once, when the dispatcher is made."""

    def enqueued(self, request: Waiting) -> None:
        """Note a request that has its key. If a slot is free, `granted` follows at once."""

    def granted(self, request: Waiting, permit: Permit) -> None: ...

    def released(self, permit: Permit) -> None:
        """Note a slot that was given back, whatever the outcome of its request."""

    def left(self, request: Waiting, reason: ErrorKind) -> None:
        """Note a request that left the queue without a slot."""

    def refused(self, request: Waiting, reason: ErrorKind, message: str) -> None:
        """Note a request that the queue did not accept."""

    def close(self) -> None: ...
