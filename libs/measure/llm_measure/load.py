"""A cheap load client: raw HTTP/1.1 over an asyncio protocol, in its own process. It prints one JSON line.

    python -m llm_measure.load URL closed --connections 32 --seconds 8
    python -m llm_measure.load URL open --rate 1500 --seconds 8
    python -m llm_measure.load URL streams --connections 1000 --seconds 8

closed    Each connection sends its next request when it has the answer to the last one.
open      Poisson arrivals at a fixed rate. Latency counts from the time a request was due (no coordinated omission).
streams   Each connection reads one stream after the other. Measured: gaps between events, and each event's delay if its
          `created` is the moment at which it was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from llm_measure.stats import summary

BODY = (
    '{"model":"main","messages":[{"role":"user","content":"Write a loop that counts from one to ten."}],'
    '"max_tokens":%d,"stream":%s}'
)
READY_CONNECTIONS = 64
"""Opened before an open loop begins; more are when needed."""
LAST_ANSWERS_SECONDS = 0.5
CREATED = b'"created":'


def request_bytes(host: str, max_tokens: int, *, stream: bool = False) -> bytes:
    body = (BODY % (max_tokens, "true" if stream else "false")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A connection with one request at a time. `on_answer(self, ok)` is called at the end of each answer."""

    def __init__(self, on_answer: Callable[[Connection, bool], None]) -> None:
        self._on_answer = on_answer
        self._buffer = b""
        self.sent_at = 0.0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def send(self, request: bytes, due: float) -> None:
        self.sent_at = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if _is_complete(buffer):
            self._buffer = b""
            self._on_answer(self, buffer.startswith(b"HTTP/1.1 200"))
        else:
            self._buffer = buffer


def _is_complete(answer: bytes) -> bool:
    head_end = answer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = answer[:head_end].lower()
    start = head.find(b"content-length:")
    if start < 0:
        return answer.endswith(b"0\r\n\r\n")
    length_end = head.find(b"\r\n", start)
    length = int(head[start + 15 : length_end if length_end >= 0 else None])
    return len(answer) >= head_end + 4 + length


class Load:
    """Counts and latencies (seconds) of the answers after a warm-up."""

    def __init__(self, url: str, seconds: float, warm_up: float, max_tokens: int) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.loop = asyncio.get_running_loop()
        self.begin = time.monotonic() + warm_up
        self.end = self.begin + seconds
        self.seconds = seconds
        self.max_tokens = max_tokens
        self.latencies: list[float] = []
        self.failed = 0

    async def connect(self, factory: Callable[[], Any]) -> Any:
        _, protocol = await self.loop.create_connection(factory, self.host, self.port)
        return protocol

    def note(self, connection: Connection, ok: bool) -> float:
        now = time.monotonic()
        if self.begin <= now < self.end:
            self.latencies.append(now - connection.sent_at)
            self.failed += not ok
        return now

    def result(self) -> dict[str, Any]:
        done = len(self.latencies)
        return {"requests": done, "failed": self.failed, "per_second": done / self.seconds, **summary(self.latencies)}


async def closed(load: Load, connections: int) -> dict[str, Any]:
    request = request_bytes(load.host, load.max_tokens)

    def next_one(connection: Connection, ok: bool) -> None:
        now = load.note(connection, ok)
        if now < load.end:
            connection.send(request, now)

    opened = [await load.connect(lambda: Connection(next_one)) for _ in range(connections)]
    for connection in opened:
        connection.send(request, time.monotonic())
    await asyncio.sleep(load.end - time.monotonic())
    load.failed += sum(connection.lost for connection in opened)
    return load.result()


async def open_loop(load: Load, rate: float, seed: int) -> dict[str, Any]:
    request = request_bytes(load.host, load.max_tokens)
    random_source = random.Random(seed)
    idle: list[Connection] = []
    opening: set[asyncio.Task[None]] = set()

    def answered(connection: Connection, ok: bool) -> None:
        load.note(connection, ok)
        idle.append(connection)

    async def send_on_new(due: float) -> None:
        connection = await load.connect(lambda: Connection(answered))
        connection.send(request, due)

    def arrive(due: float) -> None:
        while idle and idle[-1].lost:
            idle.pop()
        if idle:
            idle.pop().send(request, due)
        else:
            task = asyncio.create_task(send_on_new(due))
            opening.add(task)
            task.add_done_callback(opening.discard)

    def call_arrivals() -> None:
        due = time.monotonic()
        while (due := due + random_source.expovariate(rate)) < load.end:
            time.sleep(max(0.0, due - time.monotonic()))
            load.loop.call_soon_threadsafe(arrive, due)

    idle += [await load.connect(lambda: Connection(answered)) for _ in range(READY_CONNECTIONS)]
    # A thread sends: the event loop's timers have a resolution of a millisecond, so requests would come in bursts.
    await asyncio.to_thread(call_arrivals)
    await asyncio.sleep(LAST_ANSWERS_SECONDS)
    return {"rate": rate, **load.result()}


class StreamReader(asyncio.Protocol):
    """Records the arrival and the delay of each event. `on_end` is called at the end of the stream."""

    def __init__(self, request: bytes, load: Load) -> None:
        self._request = request
        self._load = load
        self._tail = b""
        self._arrivals: list[float] = []
        self.gaps: list[float] = []
        self.delays: list[float] = []
        self.events = 0
        self.streams = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        buffer = self._tail + data
        at = buffer.find(CREATED)
        while at >= 0:
            if (comma := buffer.find(b",", at)) < 0:
                break
            self._arrivals.append(now)
            if self._load.begin <= now < self._load.end:
                self.events += 1
                sent = float(buffer[at + len(CREATED) : comma])
                self.delays += [now - sent] if sent else []
            buffer = buffer[comma:]
            at = buffer.find(CREATED)
        self._tail = buffer[-48:] if at < 0 else buffer[at:]
        if buffer.endswith(b"0\r\n\r\n"):
            self._ended(now)

    def _ended(self, now: float) -> None:
        self.take_gaps()
        self.streams += 1
        self._tail = b""
        if now < self._load.end:
            self.begin()

    def take_gaps(self) -> None:
        begin, end = self._load.begin, self._load.end
        self.gaps += [
            later - earlier for earlier, later in pairwise(self._arrivals) if begin <= earlier and later < end
        ]
        self._arrivals = []


async def streams(load: Load, connections: int) -> dict[str, Any]:
    request = request_bytes(load.host, load.max_tokens, stream=True)
    readers = []
    ramp = max(0.0, load.begin - time.monotonic() - 1.0) / connections
    for _ in range(connections):
        reader = await load.connect(lambda: StreamReader(request, load))
        readers.append(reader)
        reader.begin()
        await asyncio.sleep(ramp)
    await asyncio.sleep(load.end - time.monotonic())
    for reader in readers:
        reader.take_gaps()
    gaps = [gap for reader in readers for gap in reader.gaps]
    delays = [delay for reader in readers for delay in reader.delays]
    return {
        "streams": connections,
        "events_per_second": sum(reader.events for reader in readers) / load.seconds,
        "silent_streams": sum(not reader.events for reader in readers),
        "gap": summary(gaps),
        "delay": summary(delays),
    }


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    load = Load(arguments.url, arguments.seconds, arguments.warm_up, arguments.max_tokens)
    if arguments.kind == "closed":
        return await closed(load, arguments.connections)
    if arguments.kind == "open":
        return await open_loop(load, arguments.rate, arguments.seed)
    return await streams(load, arguments.connections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("kind", choices=("closed", "open", "streams"))
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before the measurement")
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    sys.setswitchinterval(0.0002)
    json.dump(uvloop.run(run(parser.parse_args())), sys.stdout)


if __name__ == "__main__":
    main()
