"""Record client, gateway and engine together, over HTTP: one trace id joins what each of them writes.

Lines are those of the three programs with a field `source`: "client", "gateway" or "engine"; their times are seconds
since the first request was sent. The client's own events:

    send     a request goes out
    status   the answer's head is there: HTTP status
    token    a piece of text has arrived
    done     the answer is complete
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from llm_contract import headers, sse
from llm_course.errors import CourseError
from llm_course.paths import ROOT
from llm_course.traces.engine import MODEL
from llm_course.traces.pack import Event
from llm_gateway.testing import RunningGateway

CLASSES = ("batch", "standard", "interactive")


def record(live: dict[str, Any]) -> list[Event]:
    """Return the merged events, in order of time; with `part: queue` those of the gateway alone."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"engine": Path(folder) / "engine.jsonl", "gateway": Path(folder) / "gateway.jsonl"}
        with _engine(live["engine"], files["engine"]) as url:
            client = asyncio.run(_drive(live, url, files["gateway"]))
        events = {source: _read(path) for source, path in files.items()}
    if live["part"] == "queue":
        return events["gateway"]
    origin = min(event["time_unix"] for event in client)
    merged = [{"source": "client", **_since(event, origin - event.pop("time_unix"))} for event in client]
    for source, (start, *rest) in events.items():
        merged += [{"source": source, **_lean(_since(event, origin - start["time_unix"]))} for event in (start, *rest)]
    return sorted(merged, key=lambda event: event["time"])


def _since(event: Event, offset: float) -> Event:
    return event | {"time": round(event.get("time", 0.0) - offset, 5)}


def _lean(event: Event) -> Event:
    """Without what no picture of a request's way needs: prompts, block tables, empty lists."""
    kept = {name: value for name, value in event.items() if value != [] and not name.startswith(("prompt_", "blocks"))}
    if "sequences" in kept:
        names = ("id", "first_token", "num_tokens")
        kept["sequences"] = [{name: item[name] for name in names} for item in kept["sequences"]]
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in kept.items()}


def _read(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def _engine(settings: dict[str, Any], trace: Path) -> Iterator[str]:
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "llm_engine", "serve", MODEL, "--port", "0", "--trace", str(trace), *flags]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(r"http://[\d.]+:\d+", line):
                yield match[0]
                break
        else:
            raise CourseError("the engine did not start")
    finally:
        process.terminate()
        process.wait(30)


async def _drive(live: dict[str, Any], url: str, trace: Path) -> list[Event]:
    """Send the requests with gaps that are drawn from a seed."""
    rng, events = random.Random(1), list[Event]()
    engine = {"url": url, "max_in_flight": live["slots"]}
    async with (
        RunningGateway(engine, queue_trace=str(trace), **live["gateway"]) as gateway,
        aiohttp.ClientSession() as session,
    ):
        await gateway.until(lambda gateway: gateway.parts.pool.any_up())
        tasks = []
        for index in range(live["requests"]):
            body = {"prompt": f"def f{index}(a, b):\n    return ", "max_tokens": rng.randint(*live["tokens"])}
            body |= {"stream": True, "ignore_eos": True, "temperature": 0, "model": MODEL}
            one = _ask(session, gateway.url, f"r{index:02d}", {**body, "class": CLASSES[index % 3]}, events=events)
            tasks.append(asyncio.create_task(one))
            await asyncio.sleep(rng.expovariate(1 / live["gap"]))
        await asyncio.gather(*tasks)
    return events


async def _ask(
    session: aiohttp.ClientSession, url: str, name: str, body: dict[str, Any], *, events: list[Event]
) -> None:
    trace_id, priority = os.urandom(16).hex(), body.pop("class")
    sent = {
        headers.REQUEST_ID: name,
        headers.PRIORITY: priority,
        headers.TRACEPARENT: f"00-{trace_id}-{os.urandom(8).hex()}-01",
    }

    def note(kind: str, **more: Any) -> None:
        events.append({"event": kind, "id": name, "trace_id": trace_id, "time_unix": time.time(), **more})

    note("send", **{"class": priority, "prompt": body["prompt"], "max_tokens": body["max_tokens"]})
    async with session.post(f"{url}/v1/completions", json=body, headers=sent) as answer:
        note("status", status=answer.status)
        decoder = sse.Decoder()
        async for chunk in answer.content.iter_any():
            for data in decoder.feed(chunk):
                choices = [] if data == sse.DONE_DATA else json.loads(data).get("choices", [])
                for choice in choices:
                    if choice["text"]:
                        note("token", text=choice["text"])
    note("done")
