"""One schedule, shared among locust's processes.

    master -> worker   SHARE  which part of how many, and the salt of the prompts; before locust's order to start
    worker -> master   READY  the worker has planned its part
    master -> worker   GO     all have: the run's time 0, in seconds since 1970
    worker -> master   ENDED  the part is sent, or the reason why it cannot be sent

Each worker draws the whole schedule from the scenario's seed and keeps its own conversations. Without workers the one
process sends all of it. Workers must be connected when a test starts: locust moves users to a worker that joins later,
which aborts their requests.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any

from gevent.event import AsyncResult
from locust import LoadTestShape
from locust.runners import MasterRunner, WorkerRunner

SHARE, READY, GO, ENDED = "bench-share", "bench-ready", "bench-go", "bench-ended"
LEAD = 1.0
"""Seconds between the last READY and the run's time 0."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Share:
    number: int
    of: int
    salt: str
    """Text that makes this test's prompts differ from those of any other."""


class Sharing:
    """The protocol above, in every process; its part depends on the process's locust runner."""

    def __init__(self, environment: Any) -> None:
        self._environment, self._runner = environment, environment.runner
        self._share: Share | None = None
        """Share of the test that has begun, until `take` returns it."""
        self._go: AsyncResult = AsyncResult()
        self._workers = 1
        self._expected: set[str] = set()
        """Workers that have not ended yet."""
        self._ready: set[str] = set()
        self._over = False
        environment.events.test_start.add_listener(self._begin)
        listeners: dict[str, Any] = {}
        if isinstance(self._runner, MasterRunner):
            listeners = {READY: self._on_ready, ENDED: self._on_ended}
        elif isinstance(self._runner, WorkerRunner):
            listeners = {SHARE: self._on_share, GO: self._on_go}
        for kind, listener in listeners.items():
            self._runner.register_message(kind, listener)

    def take(self) -> Share | None:
        """Take this process's part of the test that has begun; None if it was taken before."""
        share, self._share = self._share, None
        return share

    def wait_for_go(self) -> float | None:
        """Wait for the run's time 0 and return it on `perf_counter`'s clock; None if this process can choose it."""
        if not isinstance(self._runner, WorkerRunner):
            return None
        self._runner.send_message(READY)
        epoch: float = self._go.get()
        return perf_counter() + epoch - time()

    def end(self, reason: str = "") -> None:
        """Report that this process has sent its share, or why it cannot."""
        if reason:
            _log.error(reason)
            self._runner.log_exception("llm-bench", reason, "")  # its tab in the web UI
            self._environment.process_exit_code = 1
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(ENDED, {"reason": reason})
        self._over = True

    def users(self) -> int | None:
        """Return how many users locust should keep: one per sending process; None when all have ended."""
        if self._over:
            return None
        if not isinstance(self._runner, MasterRunner):
            return 1
        if not self._expected:  # no test has begun yet
            self._workers = max(self._runner.worker_count, 1)
        elif self._runner.worker_count < self._workers:
            self._expected = set()
            self.end("a worker was lost: its share of the schedule cannot be sent")
            return None
        return self._workers

    def reset(self) -> None:
        """Prepare for a test that is requested or starts."""
        self._over = False

    def _begin(self, **_: Any) -> None:
        """Deal out the shares when a test starts.

        In the master this precedes locust's own start message to the workers.
        """
        self._ready, salt = set(), secrets.token_hex(4)
        if isinstance(self._runner, MasterRunner):
            clients = self._runner.clients
            workers = [client.id for client in (*clients.ready, *clients.spawning, *clients.running)]
            self._expected = set(workers)
            for number, worker in enumerate(workers):
                self._runner.send_message(SHARE, {"number": number, "of": len(workers), "salt": salt}, worker)
        elif not isinstance(self._runner, WorkerRunner):
            self._share = Share(0, 1, salt)

    def _on_share(self, msg: Any, **_: Any) -> None:
        self._share, self._go = Share(**msg.data), AsyncResult()

    def _on_ready(self, msg: Any, **_: Any) -> None:
        self._ready.add(msg.node_id)
        if self._ready == self._expected:
            self._runner.send_message(GO, {"epoch": time() + LEAD})

    def _on_go(self, msg: Any, **_: Any) -> None:
        self._go.set(msg.data["epoch"])

    def _on_ended(self, msg: Any, **_: Any) -> None:
        self._expected.discard(msg.node_id)
        if msg.data["reason"]:
            self.end(f"worker {msg.node_id}: {msg.data['reason']}")
        elif not self._expected:
            self.end()


class OneUserPerProcess(LoadTestShape):  # type: ignore[misc]  # locust is untyped to mypy
    """A load shape that fixes the number of users and ends the test when the schedule is over."""

    abstract = True
    sharing: Sharing

    def reset_time(self) -> None:
        """Reset the sharing. Locust calls this when a test is requested and, in a master, when it starts."""
        super().reset_time()
        self.sharing.reset()

    def tick(self) -> tuple[int, float] | None:
        users = self.sharing.users()
        return None if users is None else (users, float(users))
