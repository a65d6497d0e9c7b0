"""Incidents on live targets, for tests and for the benchmark that times the alerts.

Each incident has a target that is well all the time and a victim. Processes are scripted engines; pages are exporters
whose numbers move ten times a second. `begin` causes the incident, `end` ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web

from llm_contract.gateway_metrics import GATEWAY_METRICS, REQUESTS
from llm_contract.metrics import (
    ENGINE_METRICS,
    GENERATION_TOKENS,
    PROMPT_TOKENS,
    REQUESTS_RUNNING,
    TIME_PER_OUTPUT_TOKEN,
    TIME_TO_FIRST_TOKEN,
    Metric,
)
from llm_monitor.alerts.rules import Rules, builtin_text, fill, parse_rules
from llm_monitor.alerts.settings import SloSettings
from llm_monitor.testing.exporter import Exporter

HOST: Final = "127.0.0.1"
ENGINE: Final = ("m", "0")
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])|(?<=for: )(\d+)([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def hasty_rules(haste: float, interval: float) -> Rules:
    """Return the built-in rules with durations divided by `haste`, evaluated at one interval.

    Windows keep at least a second, four scrapes.
    """

    def shorter(found: re.Match[str]) -> str:
        number, unit = next((found[i], found[i + 1]) for i in (1, 3, 5) if found[i])
        milliseconds = 1000 * int(number) * _UNITS[unit] / haste
        return f"{max(round(milliseconds), 1000 if found[1] else 250)}ms"

    rules = parse_rules(_DURATION.sub(shorter, fill(builtin_text(), SloSettings())), "hasty", SloSettings())
    return Rules(tuple(group.model_copy(update={"interval": interval}) for group in rules.groups))


@dataclass(frozen=True, slots=True)
class Incident:
    targets: tuple[str, ...]
    victim: str
    begin: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]


class EngineProcess:
    """A scripted engine as a process."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self.address = ""

    async def start(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "llm_contract.testing", "--port", str(port), *self._flags]
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        self.address = (await self._process.stdout.readline()).decode().strip().removeprefix("http://")

    async def restart(self) -> None:
        await self._process.wait()
        await self.start(int(self.address.rpartition(":")[2]))

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)


class Load:
    """Requests in flight at an engine."""

    def __init__(self, address: str, clients: int, tokens: int) -> None:
        self._url = f"http://{address}/v1/completions"
        self._clients = clients
        self._body = {"model": "scripted", "prompt": "go on", "max_tokens": tokens, "stream": True}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.post(self._url, json=self._body) as response:
                        await response.read()


@asynccontextmanager
async def engine(*flags: str) -> AsyncIterator[EngineProcess]:
    started = EngineProcess(*flags)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


@asynccontextmanager
async def killed() -> AsyncIterator[Incident]:
    async with engine() as well, engine() as victim:
        targets = (well.address, victim.address)
        yield Incident(targets, victim.address, lambda: victim.signal(signal.SIGKILL), victim.restart)


@asynccontextmanager
async def stopped() -> AsyncIterator[Incident]:
    """SIGSTOP stops the HTTP server as well, so it does not even answer scrapes."""
    async with engine() as well, engine() as victim:
        targets = (well.address, victim.address)
        begin, end = (lambda: victim.signal(signal.SIGSTOP)), (lambda: victim.signal(signal.SIGCONT))
        yield Incident(targets, victim.address, begin, end)


@asynccontextmanager
async def _loaded(flags: tuple[str, ...], usual: tuple[int, int], excess: tuple[int, int]) -> AsyncIterator[Incident]:
    """Two engines; the well one has the usual (clients, tokens), the victim the excess."""
    async with engine(*flags) as well, engine(*flags) as victim:
        background, load = Load(well.address, *usual), Load(victim.address, *excess)
        await background.start()
        try:
            yield Incident((well.address, victim.address), victim.address, load.start, load.stop)
        finally:
            await load.stop()
            await background.stop()


def overloaded() -> AbstractAsyncContextManager[Incident]:
    flags = ("--max-running", "4", "--kv-tokens", "16000", "--gaps", "0.02")
    return _loaded(flags, usual=(3, 40), excess=(16, 40))


def kv_full() -> AbstractAsyncContextManager[Incident]:
    """Two requests of 795 tokens, the prompt and what they generate, fill 99% of the cache."""
    return _loaded(("--kv-tokens", "1600", "--gaps", "0.02"), usual=(1, 100), excess=(2, 790))


@asynccontextmanager
async def _served(exporter: Exporter) -> AsyncIterator[str]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(body=exporter.page())

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


Step = Callable[[Exporter, bool], None]
"""Moves a page's numbers by a tenth of a second; True for the victim during the incident."""


@asynccontextmanager
async def _moving(pages: tuple[Exporter, Exporter], step: Step, *others: Exporter) -> AsyncIterator[Incident]:
    wrong = False

    async def move() -> None:
        while True:
            for number, page in enumerate(pages):
                step(page, wrong and number == 1)
            await asyncio.sleep(0.1)

    async def turn(to: bool) -> None:
        nonlocal wrong
        wrong = to

    async with contextlib.AsyncExitStack() as stack:
        addresses = tuple([await stack.enter_async_context(_served(page)) for page in (*pages, *others)])
        moving = asyncio.create_task(move())
        try:
            yield Incident(addresses, addresses[1], lambda: turn(True), lambda: turn(False))
        finally:
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)


def stalled() -> AbstractAsyncContextManager[Incident]:
    """The engine's loop hangs while its HTTP server answers scrapes, as vLLM's can: they are two processes."""

    def step(page: Exporter, wrong: bool) -> None:
        page.set(REQUESTS_RUNNING, 4, *ENGINE)
        page.add(GENERATION_TOKENS, 0 if wrong else 4, *ENGINE)
        page.add(PROMPT_TOKENS, 0 if wrong else 9, *ENGINE)

    return _moving((Exporter(ENGINE_METRICS), Exporter(ENGINE_METRICS)), step)


def errors() -> AbstractAsyncContextManager[Incident]:
    def step(page: Exporter, wrong: bool) -> None:
        page.add(REQUESTS, 1, "chat", "ok")
        page.add(REQUESTS, 2 if wrong else 0, "chat", "engine_failed")

    idle = Exporter(ENGINE_METRICS)
    idle.set(REQUESTS_RUNNING, 0, *ENGINE)
    return _moving((Exporter(GATEWAY_METRICS), Exporter(GATEWAY_METRICS)), step, idle)


def slower(metric: Metric, usual: float, slow: float, *, drift: float = 1.0) -> AbstractAsyncContextManager[Incident]:
    """Latency goes from usual to slow seconds, by the share `drift` of the way in each tenth of a second."""
    way = 0.0

    def step(page: Exporter, wrong: bool) -> None:
        nonlocal way
        way = min(way + drift, 1.0) if wrong else way
        for _ in range(3):
            page.observe(metric, usual + way * (slow - usual) if wrong else usual, *ENGINE)

    return _moving((Exporter(ENGINE_METRICS), Exporter(ENGINE_METRICS)), step)


INCIDENTS: Final[dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Incident]]]]] = {
    "killed": ("TargetDown", killed),
    "stopped": ("TargetDown", stopped),
    "stalled": ("EngineStalled", stalled),
    "overloaded": ("RequestsWaiting", overloaded),
    "KV cache full": ("KvCacheFull", kv_full),
    "errors": ("ErrorRatio", errors),
}
"""Alert and incident by name."""
DRIFTS: Final[dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Incident]]]]] = {
    "tokens drift": ("TpotAnomaly", lambda: slower(TIME_PER_OUTPUT_TOKEN, 0.02, 0.035, drift=0.01)),
    "first token drifts": ("TtftAnomaly", lambda: slower(TIME_TO_FIRST_TOKEN, 0.3, 1.0, drift=0.01)),
}
"""The same, for those that need a past: drift below the objective."""
