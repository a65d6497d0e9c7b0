"""Incidents on live targets, scraped at 4 Hz: each fires its alert in time, names its target, and resolves.

The rules are the built-in ones with every duration divided by `HASTE`, so that an incident takes seconds. The targets
are processes or exporters of their own, one of them well all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from tests.support_exporter import Exporter, exporter

from llm_contract import metrics
from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.alerts.rules import Rule, Rules, builtin_text, fill, parse_rules
from llm_monitor.alerts.settings import SloSettings
from llm_monitor.alerts.state import Alert
from llm_monitor.collect import Collector, target_of
from llm_monitor.series.head import Head

HASTE = 15.0
MARGIN = 5.0
"""Seconds after its `for` within which an alert must fire."""
DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])|(?<=for: )(\d+)([smhd])")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
EVALUATIONS = 0.25


def hasty_rules() -> Rules:
    """Return the built-in rules with durations divided by `HASTE`; a window keeps four scrapes."""

    def shorter(found: re.Match[str]) -> str:
        number, unit = next((found[i], found[i + 1]) for i in (1, 3, 5) if found[i])
        seconds = int(number) * UNITS[unit] / HASTE
        return f"{max(round(1000 * seconds), 1000 if found[1] else 250)}ms"

    text = DURATION.sub(shorter, fill(builtin_text(), SloSettings()))
    rules = parse_rules(text, "hasty", SloSettings())
    return Rules(tuple(group.model_copy(update={"interval": EVALUATIONS}) for group in rules.groups))


class Watch:
    """A collector and an alert engine over some targets, and when each alert fired first."""

    def __init__(self, *addresses: str) -> None:
        head = Head()
        self.engine = AlertEngine(hasty_rules(), head, write=HeadWriter(head).write)
        self._collector = Collector([target_of(each) for each in addresses], head, timeout=0.5)
        self._changed = asyncio.Event()
        self._collector.on_cycle(self._evaluate)
        self.fired: dict[str, Alert] = {}
        self.cycles = 0

    def _evaluate(self, at: float) -> None:
        self.engine.evaluate(at)
        self.cycles += 1
        for alert in self.engine.alerts():
            if alert.state == "firing":
                self.fired.setdefault(alert.name, alert)
        self._changed.set()

    def rule(self, name: str) -> Rule:
        return next(rule for rule in self.engine.rules.alerts if rule.name == name)

    async def until(self, condition: Callable[[], bool], timeout: float = 40.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def seconds(self, count: float) -> None:
        end = self.cycles + int(count / EVALUATIONS)
        await self.until(lambda: self.cycles >= end)

    async def expect(self, name: str, instance: str, *, since: float) -> None:
        """Wait for an alert, and see that it comes in time, for the right target, and alone."""
        await self.until(lambda: name in self.fired)
        alert = self.fired[name]
        assert dict(alert.labels)["instance"] == instance
        assert alert.fired_at is not None
        assert alert.fired_at - since <= self.rule(name).hold + MARGIN
        assert set(self.fired) == {name}

    async def expect_resolved(self, name: str) -> None:
        await self.until(lambda: all(alert.state == "resolved" for alert in self.engine.alerts()))
        assert set(self.fired) == {name}

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._collector.run())
        await self.seconds(3)
        assert not self.fired
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class EngineProcess:
    """A scripted engine as a process, and the requests that keep it busy."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self.address = ""
        self._requests: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        command = [sys.executable, "-m", "llm_contract.testing", "--port", str(port), *self._flags]
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        self.address = (await self.process.stdout.readline()).decode().strip().removeprefix("http://")

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


@contextlib.asynccontextmanager
async def engine(*flags: str) -> AsyncIterator[EngineProcess]:
    started = EngineProcess(*flags)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


@contextlib.asynccontextmanager
async def load(address: str, clients: int, tokens: int) -> AsyncIterator[None]:
    """Keep some requests in flight; they end with the block."""

    async def client() -> None:
        body = {"model": "scripted", "prompt": "go on", "max_tokens": tokens, "stream": True}
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"http://{address}/v1/completions", json=body) as response:
                    await response.read()

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        tasks = [asyncio.create_task(client()) for _ in range(clients)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_engine_that_is_killed_and_started_again() -> None:
    async with engine() as well, engine() as victim, Watch(well.address, victim.address) as watch:
        killed = time.time()
        victim.signal(signal.SIGKILL)
        await watch.expect("TargetDown", victim.address, since=killed)
        await victim.process.wait()
        await victim.start(int(victim.address.rpartition(":")[2]))
        await watch.expect_resolved("TargetDown")


async def test_an_engine_that_hangs_as_a_whole() -> None:
    """SIGSTOP stops its HTTP server as well, so it does not even answer scrapes."""
    async with engine() as well, engine() as victim, Watch(well.address, victim.address) as watch:
        stopped = time.time()
        victim.signal(signal.SIGSTOP)
        await watch.expect("TargetDown", victim.address, since=stopped)
        victim.signal(signal.SIGCONT)
        await watch.expect_resolved("TargetDown")


async def test_an_engine_with_more_requests_than_it_can_run() -> None:
    flags = ("--max-running", "4", "--kv-tokens", "16000", "--gaps", "0.02")
    async with (
        engine(*flags) as well,
        engine(*flags) as victim,
        load(well.address, 3, 40),
        Watch(well.address, victim.address) as watch,
    ):
        begin = time.time()
        async with load(victim.address, 16, 40):
            await watch.expect("RequestsWaiting", victim.address, since=begin)
        await watch.expect_resolved("RequestsWaiting")


async def test_an_engine_whose_kv_cache_is_full() -> None:
    flags = ("--kv-tokens", "1600", "--gaps", "0.02")
    async with (
        engine(*flags) as well,
        engine(*flags) as victim,
        load(well.address, 1, 100),
        Watch(well.address, victim.address) as watch,
    ):
        begin = time.time()
        # Two requests of 795 tokens, "go on" and what they generate, fill 99% of it.
        async with load(victim.address, 2, 790):
            await watch.expect("KvCacheFull", victim.address, since=begin)
        await watch.expect_resolved("KvCacheFull")


class Page:
    """The metrics page of an engine or gateway whose numbers a test moves."""

    def __init__(self, served: Exporter) -> None:
        self._served = served
        self.values: dict[str, float] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        text = ",".join(f'{key}="{each}"' for key, each in labels.items())
        key = f"{name}{{{text}}}" if text else name
        self.values[key] = self.values.get(key, 0.0) + value
        self._served.body = "".join(f"{key} {value}\n" for key, value in self.values.items()).encode()

    def observe(self, metric: metrics.Metric, value: float, count: float) -> None:
        for bound in (*metric.buckets, float("inf")):
            label = "+Inf" if bound == float("inf") else str(float(bound))
            self.add(f"{metric.name}_bucket", count * (value <= bound), model_name="m", le=label)
        self.add(f"{metric.name}_sum", count * value, model_name="m")
        self.add(f"{metric.name}_count", count, model_name="m")


@contextlib.asynccontextmanager
async def moving(step: Callable[[], None]) -> AsyncIterator[None]:
    """Call `step` ten times a second."""

    async def run() -> None:
        while True:
            step()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_that_answers_scrapes_and_generates_nothing() -> None:
    async with exporter() as served, exporter() as other:
        pages, stalled = [Page(served), Page(other)], [False]

        def step() -> None:
            for page in pages:
                moves = 0 if stalled[0] and page is pages[1] else 1
                page.add("vllm:num_requests_running", 0 if page.values else 4, model_name="m")
                page.add("vllm:generation_tokens_total", 4 * moves, model_name="m")
                page.add("vllm:prompt_tokens_total", 9 * moves, model_name="m")

        step()
        async with moving(step), Watch(served.address, other.address) as watch:
            stalled[0], begin = True, time.time()
            await watch.expect("EngineStalled", other.address, since=begin)
            stalled[0] = False
            await watch.expect_resolved("EngineStalled")


async def test_a_burst_of_errors_at_a_gateway() -> None:
    async with exporter() as served, exporter() as other, exporter() as idle_engine:
        Page(idle_engine).add("vllm:num_requests_running", 0, model_name="m")
        pages, failing = [Page(served), Page(other)], [False]

        def step() -> None:
            for page in pages:
                bad = failing[0] and page is pages[1]
                page.add("gateway_requests_total", 1, **{"class": "chat", "outcome": "ok"})
                page.add("gateway_requests_total", 2 * bad, **{"class": "chat", "outcome": "engine_failed"})

        step()
        async with moving(step), Watch(served.address, other.address, idle_engine.address) as watch:
            failing[0], begin = True, time.time()
            await watch.expect("ErrorRatio", other.address, since=begin)
            failing[0] = False
            await watch.expect_resolved("ErrorRatio")


@pytest.mark.parametrize(
    ("metric", "name", "usual", "slow"),
    [
        (metrics.TIME_PER_OUTPUT_TOKEN, "TpotAnomaly", 0.02, 0.035),
        (metrics.TIME_TO_FIRST_TOKEN, "TtftAnomaly", 0.3, 1.0),
        (metrics.TIME_PER_OUTPUT_TOKEN, "TpotBurnRate", 0.07, 0.12),
        (metrics.TIME_TO_FIRST_TOKEN, "TtftBurnRate", 2.0, 2.6),
    ],
)
async def test_an_engine_that_becomes_slow(metric: metrics.Metric, name: str, usual: float, slow: float) -> None:
    """Slow drift below the objective is an anomaly; a small step beyond it burns the budget and is none."""
    async with exporter() as served, exporter() as other:
        pages, drift = [Page(served), Page(other)], [0.0]

        def step() -> None:
            for page in pages:
                drift[0] = min(drift[0] * 1.02, 1.0)
                seconds = usual + (slow - usual) * drift[0] if page is pages[1] else usual
                page.observe(metric, seconds, 3)

        step()
        async with moving(step), Watch(served.address, other.address) as watch:
            await watch.seconds(60)
            drift[0] = 0.05 if "Anomaly" in name else 1.0
            await watch.until(lambda: bool(watch.fired), timeout=60)
            await watch.expect(name, other.address, since=time.time())
