"""Engines, a gateway and a router under a scripted load, each a target of its own. Every metric of the contract moves.

    python -m llm_monitor.testing.fleet --engines 4     # prints the targets' URLs and serves until SIGTERM

The load breathes: a slow wave, a little noise from a seed, and now and then a moment of overload.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import signal
from collections.abc import Awaitable, Callable

from aiohttp import web

from llm_contract import gateway_metrics, metrics, router_metrics
from llm_monitor.boards.metrics import SPECULATION_METRICS
from llm_monitor.testing.exporter import Exporter

HOST = "127.0.0.1"
MODEL = "main"
BLOCKS = 2048
CLASSES = (("interactive", 0.5), ("standard", 0.3), ("batch", 0.2))
TENANTS = ("research", "product")
TICK = 0.25
"""Seconds between two changes."""


class ScriptedFleet:
    """The targets, moved by `advance`."""

    def __init__(self, engines: int = 4, *, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.time = 0.0
        self.engines = [Exporter((*metrics.ENGINE_METRICS, *SPECULATION_METRICS)) for _ in range(engines)]
        self.gateway = Exporter(gateway_metrics.GATEWAY_METRICS)
        self.router = Exporter(router_metrics.ROUTER_METRICS)
        self.names = [f"{HOST}:{8100 + index}" for index in range(engines)]
        self.frozen: set[int] = set()
        """Engines whose counters stand still."""

    @property
    def exporters(self) -> list[tuple[str, Exporter]]:
        engines = [("engine", engine) for engine in self.engines]
        return [*engines, ("gateway", self.gateway), ("router", self.router)]

    def advance(self, seconds: float) -> None:
        """Let the time pass and change every metric accordingly."""
        self.time += seconds
        wave = 0.55 + 0.3 * math.sin(self.time / 17) + 0.12 * math.sin(self.time / 3.1)
        load = min(1.0, max(0.05, wave + 0.06 * self._random.gauss(0, 1)))
        for index in range(len(self.engines)):
            if index not in self.frozen:
                self.move_engine(index, seconds, min(1.0, load * (0.86 + 0.1 * index)))
        self._gateway(seconds, load)
        self._router(seconds, load)

    def move_engine(self, index: int, seconds: float, load: float) -> None:
        """Let one engine work for some seconds at a load of 0 to 1."""
        engine, labels, draw = self.engines[index], (MODEL, "0"), self._random
        running = round(32 * load)
        waiting = round(max(0.0, load - 0.8) * 60)
        engine.set(metrics.REQUESTS_RUNNING, running, *labels)
        engine.set(metrics.REQUESTS_WAITING, waiting, *labels)
        engine.set(metrics.KV_CACHE_USAGE, min(0.97, 0.12 + 0.82 * load), *labels)
        engine.set(metrics.CACHE_CONFIG_INFO, 1, "0", "16", str(BLOCKS), "True")
        tokens = running * 22 * seconds
        engine.add(metrics.GENERATION_TOKENS, round(tokens), *labels)
        prompt = round(tokens * 1.7)
        engine.add(metrics.PROMPT_TOKENS, prompt, *labels)
        engine.add(metrics.PREFIX_CACHE_QUERIES, prompt, *labels)
        engine.add(metrics.PREFIX_CACHE_HITS, round(prompt * (0.45 + 0.2 * math.sin(self.time / 29 + index))), *labels)
        engine.add(metrics.PREEMPTIONS, 1 if load > 0.9 and draw.random() < 0.2 else 0, *labels)
        for _ in range(max(1, round(seconds / 0.012))):
            engine.observe(metrics.ITERATION_TOKENS, running + (180 if draw.random() < 0.1 else 0), *labels)
        for _ in range(max(1, round(running * seconds))):
            engine.observe(metrics.INTER_TOKEN_LATENCY, 0.011 * (1 + load * draw.random() ** 3 * 4), *labels)
        for _ in range(draw.randint(1, 3) if running else 0):
            self._finish(engine, load, labels)
        engine.add(SPECULATION_METRICS[0], round(tokens / 2.4), *labels)
        engine.add(SPECULATION_METRICS[1], round(tokens / 2.4 * 3), *labels)
        engine.add(SPECULATION_METRICS[2], round(tokens / 2.4 * 1.4), *labels)
        engine.add(SPECULATION_METRICS[3], round(tokens / 2.4), *labels, "0")

    def _finish(self, engine: Exporter, load: float, labels: tuple[str, str]) -> None:
        draw = self._random
        queue = 0.4 * max(0.0, load - 0.6) * draw.random()
        prefill = 0.03 + 0.09 * draw.random() ** 2
        count = draw.randint(20, 160)
        per_token = 0.012 + 0.02 * load * draw.random()
        decode = count * per_token
        times = {
            metrics.QUEUE_TIME: queue,
            metrics.PREFILL_TIME: prefill,
            metrics.DECODE_TIME: decode,
            metrics.INFERENCE_TIME: prefill + decode,
            metrics.TIME_TO_FIRST_TOKEN: queue + prefill,
            metrics.E2E_LATENCY: queue + prefill + decode,
            metrics.TIME_PER_OUTPUT_TOKEN: per_token,
            metrics.REQUEST_PROMPT_TOKENS: draw.randint(40, 900),
            metrics.REQUEST_GENERATION_TOKENS: count,
        }
        for metric, value in times.items():
            engine.observe(metric, value, *labels)
        reason = draw.choices(("stop", "length", "abort"), (8, 3, 0.4))[0]
        engine.add(metrics.REQUEST_SUCCESS, 1, *labels, reason)

    def _gateway(self, seconds: float, load: float) -> None:
        gateway, names, draw = self.gateway, gateway_metrics, self._random
        for name, part in CLASSES:
            gateway.set(names.QUEUE_DEPTH, round(max(0.0, load - 0.5) * 70 * part), name)
            gateway.set(names.WAIT_BOUND, 1.5 + 6 * load / part * 0.3, name)
            gateway.add(names.WAIT_BOUND_VIOLATIONS, 0, name)
            gateway.add(names.SHED, 1 if load > 0.93 and name == "batch" and draw.random() < 0.4 else 0, name)
            for _ in range(max(1, round(24 * load * part * seconds))):
                wait = max(0.0, load - 0.5) * draw.random() * 0.5 / part * 0.4
                gateway.observe(names.QUEUE_WAIT, wait, name)
                gateway.observe(names.TIME_TO_FIRST_BYTE, wait + 0.05 + 0.1 * draw.random(), name)
                gateway.observe(names.REQUEST_SECONDS, wait + 0.4 + 2.5 * draw.random(), name)
                bad = draw.random() < 0.006
                outcome = draw.choice(("queue_full", "engine_failed", "queue_timeout")) if bad else "ok"
                gateway.add(names.REQUESTS, 1, name, outcome)
                met = not bad and draw.random() < 1 - 0.12 * load
                gateway.add(names.SLA_REQUESTS, 1, name, "yes" if met else "no")
                if not met:
                    gateway.add(names.SLA_VIOLATIONS, 1, name, "failed" if bad else draw.choice(("ttft", "tpot")))
            gateway.add(names.REATTEMPTS, 1 if draw.random() < 0.02 else 0, name, "retry")
        for engine in self.names:
            self._slot(engine, load)
        for tenant in TENANTS:
            gateway.add(names.TENANT_REQUESTS, round(10 * load * seconds * draw.random() * 2), tenant)
            gateway.add(names.TENANT_TOKENS, round(900 * load * seconds), tenant, "prompt")
            gateway.add(names.TENANT_TOKENS, round(600 * load * seconds), tenant, "output")
            gateway.add(names.TENANT_LIMITED, 1 if draw.random() < 0.01 else 0, tenant, "tokens")

    def _slot(self, engine: str, load: float) -> None:
        gateway, names = self.gateway, gateway_metrics
        gateway.set(names.ENGINE_UP, 1, engine)
        gateway.set(names.IN_FLIGHT, round(32 * load), engine)
        gateway.set(names.IN_FLIGHT_LIMIT, 40, engine)
        gateway.set(names.ENGINE_KV_BUDGET, BLOCKS * 16, engine)
        gateway.set(names.ENGINE_KV_USED, BLOCKS * 16 * 0.8 * load, engine)
        gateway.set(names.ENGINE_BREAKER, 0, engine)
        gateway.add(names.ENGINE_FAILURES, 0, engine, "connect")
        gateway.add(names.ENGINE_EJECTIONS, 0, engine)

    def _router(self, seconds: float, load: float) -> None:
        router, names, draw = self.router, router_metrics, self._random
        router.set(names.QUEUE_DEPTH, round(max(0.0, load - 0.85) * 30), MODEL)
        router.add(names.REATTEMPTS, 1 if draw.random() < 0.02 else 0, MODEL, "retry")
        router.add(names.BROKEN_STREAMS, 1 if draw.random() < 0.01 else 0, MODEL, "replayed")
        for engine in self.names:
            router.set(names.ENGINE_UP, 1, MODEL, engine)
            router.set(names.IN_FLIGHT, round(30 * load + 3 * draw.random()), MODEL, engine)
            router.set(names.LOAD, round(32 * load), MODEL, engine)
            router.set(names.KV_USAGE, min(0.97, 0.12 + 0.82 * load), MODEL, engine)
            router.add(names.ATTEMPTS, round(6 * load * seconds * 2 * draw.random()), MODEL, engine, "prefix", "ok")
            router.add(names.EJECTIONS, 0, MODEL, engine, "connect")
        for _ in range(max(1, round(24 * load * seconds))):
            router.observe(names.QUEUE_WAIT, 0.02 * load * draw.random(), MODEL)
            router.observe(names.TIME_TO_FIRST_BYTE, 0.05 + 0.1 * draw.random(), MODEL)
            router.observe(names.REQUEST_SECONDS, 0.4 + 2.5 * draw.random(), MODEL)
            router.add(names.REQUESTS, 1, MODEL, "prefix", "ok")


class Server:
    """Serves pages, each at a port of its own, by functions that return them."""

    def __init__(self, pages: list[Callable[[], bytes]]) -> None:
        self._pages = pages
        self._runners: list[web.AppRunner] = []
        self.urls: list[str] = []

    async def start(self) -> None:
        for page in self._pages:
            app = web.Application()
            app.router.add_get("/metrics", _handler(page))
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, HOST, 0).start()
            self._runners.append(runner)
            self.urls.append(f"http://{HOST}:{runner.addresses[0][1]}")

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


def _handler(page: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def metrics_page(_: web.Request) -> web.StreamResponse:
        return web.Response(body=page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return metrics_page


async def _serve(engines: int) -> None:
    fleet = ScriptedFleet(engines)
    server = Server([exporter.page for _, exporter in fleet.exporters])
    await server.start()
    fleet.names[:] = [url.removeprefix("http://") for url in server.urls[:engines]]
    fleet.advance(TICK)
    print("\n".join(server.urls), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        fleet.advance(TICK)
        try:
            async with asyncio.timeout(TICK):
                await stop.wait()
        except TimeoutError:
            continue
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m llm_monitor.testing.fleet", description=__doc__)
    parser.add_argument("--engines", type=int, default=4)
    asyncio.run(_serve(parser.parse_args().engines))


if __name__ == "__main__":
    main()
