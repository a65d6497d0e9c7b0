"""The queue trace: a record of every change of the queue as JSON lines, which pictures and tests replay.

    start      policy, classes, engines and their slots; once
    enqueue    a request waits: class, tenant, its key in the policy's order
    grant      a request got a slot of an engine, after `wait` seconds
    release    a slot is free again
    leave      a request left the queue without a slot, and why
    refuse     the queue did not accept a request, and why

Times are seconds since `start.time_unix`. queue_trace.schema.json, in this folder, describes the fields.
`--queue-trace FILE` writes one; the engine's `--trace` has the same trace ids.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_contract.errors import ErrorKind
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.scheduling.listener import QueueListener
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.settings import GatewaySettings
from llm_gateway.waiting import Waiting

SCHEMA = Path(__file__).with_name("queue_trace.schema.json")
SCHEMA_VERSION = 1

Event = dict[str, Any]


class QueueTrace(QueueListener):
    """A listener that writes the trace."""

    def __init__(self, path: str, settings: GatewaySettings, clock: Callable[[], float]) -> None:
        """Open the file. OSError if it cannot be written."""
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - stays open, see `close`
        self._settings = settings
        self._clock = clock
        self._begin, self._time_unix = clock(), time.time()
        self._since: dict[Waiting, float] = {}

    def watch(self, queue: RequestQueue, pool: EnginePool) -> None:
        self._queue, self._pool, settings = queue, pool, self._settings
        classes = [
            {"name": c.name, "priority": c.priority, "max_queue": c.max_queue, "share": c.share, "ttft": c.ttft_target}
            for c in settings.classes
        ]
        start = {
            "event": "start",
            "schema_version": SCHEMA_VERSION,
            "time_unix": self._time_unix,
            "policy": settings.policy,
            "aging_rate": settings.aging_rate,
            "max_queue": settings.max_queue,
            "classes": classes,
            "engines": [{"name": engine.name, "slots": engine.max_in_flight} for engine in pool.engines],
        }
        self._write(start)

    def enqueued(self, request: Waiting) -> None:
        self._since[request] = self._clock()
        event = self._about(request, "enqueue") | {"order": request.order, "key": _finite(request.key)}
        event |= {"due": _finite(request.due - self._begin), "deadline": _finite(request.deadline - self._begin)}
        event |= {"prompt_tokens": request.prompt_tokens, "output_tokens": request.output_tokens}
        self._write(event | self._counts())

    def granted(self, request: Waiting, permit: Permit) -> None:
        wait = self._clock() - self._since.pop(request, self._clock())
        event = {"event": "grant", "id": _name(request), "time": self._now(), "wait": wait}
        self._write(event | {"engine": permit.engine.name} | self._counts())

    def released(self, permit: Permit) -> None:
        event = {"event": "release", "id": _name(permit.request), "time": self._now()}
        self._write(event | {"engine": permit.engine.name, "held": self._clock() - permit.since} | self._counts())

    def left(self, request: Waiting, reason: ErrorKind) -> None:
        wait = self._clock() - self._since.pop(request, self._clock())
        event = {"event": "leave", "id": _name(request), "time": self._now(), "wait": wait}
        self._write(event | {"reason": reason.label})

    def refused(self, request: Waiting, reason: ErrorKind, message: str) -> None:
        self._write(self._about(request, "refuse") | {"reason": reason.label, "message": message})

    def close(self) -> None:
        self._file.close()

    def _about(self, request: Waiting, kind: str) -> Event:
        return {
            "event": kind,
            "id": _name(request),
            "trace_id": request.trace_id,
            "time": self._now(),
            "class": request.cls.name,
            "tenant": request.tenant,
        }

    def _counts(self) -> Event:
        return {"waiting": len(self._queue), "in_flight": sum(engine.in_flight for engine in self._pool.watched())}

    def _now(self) -> float:
        return self._clock() - self._begin

    def _write(self, event: Event) -> None:
        self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
        self._file.flush()


def _name(request: Waiting) -> str:
    """Return the request's id with the number of its first push, because clients can send one id twice."""
    return f"{request.request_id}#{request.order}" if request.order >= 0 else request.request_id


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
