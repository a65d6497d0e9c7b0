"""An open load at 1.2 times the measured capacity: what each class gets when there is too much for all.

Its aim is a yes or no in half a minute. `llm-bench` measures capacity with intervals, and says when a run is invalid.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from llm_deploy.errors import DeployError
from llm_deploy.running.load import clients
from llm_report.percentile import percentile

FACTOR = 1.2
FILL_SECONDS, MEASURE_SECONDS, LOAD_SECONDS = 4.0, 8.0, 20.0
"""The first answers of a closed loop come late: without time to fill, the capacity would be underestimated."""
CLIENTS = 32
CLASSES = ("interactive", "standard", "batch")
TOKENS = 16


@dataclass
class Overload:
    capacity: float
    """Requests per second, closed loop."""
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    """Durations from the scheduled sending to the end, by class."""

    @property
    def interactive(self) -> float:
        return percentile(sorted(self.seconds["interactive"]), 50)

    @property
    def batch(self) -> float:
        return percentile(sorted(self.seconds["batch"]), 50)

    def text(self) -> str:
        """Return capacity, answers and both medians in one line."""
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        medians = f"median interactive {self.interactive:.2f} s, batch {self.batch:.2f} s"
        return f"{self.capacity:.1f} requests/s x {FACTOR}: {answers}; {medians}"


def measure(url: str, key: str) -> Overload:
    """Measure the capacity by a closed loop, then offer more than that. Raises DeployError if nothing is served."""
    with clients(url, key, CLIENTS) as seen:
        time.sleep(FILL_SECONDS)
        before = seen.statuses[200]
        time.sleep(MEASURE_SECONDS)
        served = seen.statuses[200] - before
    found = Overload(served / MEASURE_SECONDS)
    if not served:
        raise DeployError(f"nothing was served in {MEASURE_SECONDS:.0f} s: {seen.text() or 'no answer'}")
    asyncio.run(_offer(found, url, key))
    if not all(found.seconds[name] for name in ("interactive", "batch")):
        raise DeployError(f"a class got no answer at all: {found.statuses}")
    return found


async def _offer(found: Overload, url: str, key: str) -> None:
    """Send Poisson arrivals, each class equally often; wait for the last answer."""
    draw, began, due = random.Random(1), time.monotonic(), 0.0
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {key}"}
    session = aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=connector)
    async with session, asyncio.TaskGroup() as tasks:
        while (due := due + draw.expovariate(found.capacity * FACTOR)) < LOAD_SECONDS:
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            tasks.create_task(_send(found, session, began + due, draw.choice(CLASSES)))


async def _send(found: Overload, session: aiohttp.ClientSession, due: float, name: str) -> None:
    body = {"model": "main", "prompt": f"def f_{found.statuses.total()}(x):", "max_tokens": TOKENS, "ignore_eos": True}
    try:
        async with session.post("/v1/completions", json=body, headers={"x-priority": name}) as response:
            await response.read()
            found.statuses[response.status] += 1
            if response.status == 200:
                found.seconds[name].append(time.monotonic() - due)
    except (aiohttp.ClientError, TimeoutError):
        found.statuses[0] += 1
