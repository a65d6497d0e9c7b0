"""Engines to scrape: the metrics of a loaded engine, made by Prometheus's client from the names in the contract.

    python services/monitor/benchmarks/engine_pages.py

It prints its URL. Each path below it is an engine: /0/metrics, /1/metrics, … Each scrape gets the next of some pages
that were rendered before, so an exporter costs next to nothing. Nearly all lines differ from one page to the next, as
they do on a busy engine.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llm_contract.metrics import ENGINE_METRICS, Metric, token_count_buckets

PAGES = 64
REQUESTS_A_PAGE = 8
CONTEXT_LENGTH = 1024
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: %d\r\n\r\n"


def pages(count: int = PAGES) -> list[bytes]:
    """Return the page of one engine at `count` times, some requests apart."""
    chance = random.Random(0)
    registry = CollectorRegistry()
    families = [(metric, _family(metric, registry)) for metric in ENGINE_METRICS]
    found = []
    for _ in range(count):
        for metric, family in families:
            series = family.labels(*(_label(name) for name in metric.labels))
            for _ in range(REQUESTS_A_PAGE):
                if isinstance(series, Histogram):
                    series.observe(chance.lognormvariate(0, 2))
                elif isinstance(series, Gauge):
                    series.set(chance.random())
                else:
                    series.inc(chance.randrange(100))
        found.append(generate_latest(registry))
    return found


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.help, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.labels, registry=registry)
    buckets = metric.buckets or token_count_buckets(CONTEXT_LENGTH)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=buckets)


def _label(name: str) -> str:
    return {"model_name": "main", "engine": "0"}.get(name, "16")


class Exporter(asyncio.Protocol):
    """One connection. Requests come one after the other and have no body."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = itertools.cycle(answers)
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            self._received = self._received.partition(b"\r\n\r\n")[2]
            self._transport.write(next(self._answers))


async def main() -> None:
    answers = [HEAD % len(page) + page for page in pages()]
    server = await asyncio.get_running_loop().create_server(lambda: Exporter(answers), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
