"""The engines that the edge uses, sampled many times a second while something happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
from benchmarks.stack import MODEL, Router

ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class Sample:
    moment: float
    """Seconds of the monotonic clock."""
    live: frozenset[str]
    """Ids of the engines that the edge sends requests to."""
    target: int
    """Engines that the controller aims at; -1 while that is not known."""
    pids: frozenset[int] = field(default_factory=frozenset)
    """Process ids of the live engines."""


class Watch:
    """Samples GET /-/status every `every` seconds inside the block. An edge that does not answer gives no sample."""

    def __init__(self, router: Router, every: float = 0.05) -> None:
        self._router = router
        self._every = every
        self.samples: list[Sample] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=ANSWER_TIMEOUT)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()

    def since(self, moment: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.moment >= moment]

    async def until(
        self, condition: Callable[[Sample], bool], *, timeout: float, what: str, since: float | None = None
    ) -> Sample:
        """Return the first sample since the moment `since`, by default now, for which the condition holds."""
        begin = time.monotonic()
        seen = len(self.samples) - len(self.since(begin if since is None else since))
        while time.monotonic() - begin < timeout:
            for sample in self.samples[seen:]:
                seen += 1
                if condition(sample):
                    return sample
            await asyncio.sleep(self._every / 2)
        raise RuntimeError(f"no {what} within {timeout:g} s; last seen: {self.samples[-1:]}")

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, KeyError):
                async with self._session.get(f"{self._router.url}/-/status") as response:
                    self.samples.append(_sample(await response.json()))
            await asyncio.sleep(self._every)


def complete(engines: int, gone: set[int]) -> Callable[[Sample], bool]:
    """Return the condition that this number of engines is live, none of them with a pid in `gone`."""
    return lambda sample: len(sample.live) >= engines and not sample.pids & gone


def _sample(status: dict[str, Any]) -> Sample:
    models = [model for model in status["models"] if model["name"] == MODEL]
    live = [engine for model in models for engine in model["engines"] if engine["up"]]
    applications = (status["control"] or {"applications": []})["applications"]
    targets = [one["target"] for one in applications if one["kind"] == "engines"]
    return Sample(
        moment=time.monotonic(),
        live=frozenset(engine["id"] for engine in live),
        target=targets[0] if targets else -1,
        pids=frozenset(engine["engine_pid"] for engine in live),
    )
