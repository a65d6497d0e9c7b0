"""Send hostile requests to a server while a well-behaved stream runs, and report what must not happen.

Faults are answers with a 5xx status, answers that are not what the API promises, answers that never end, and a steady
stream whose text changes. The worst time between two of its events is reported next to the worst without hostile
requests.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import aiohttp

from hostile import grammar
from hostile.grammar import HostileRequest
from llm_contract import sse

WORKERS = 8
ANSWER_SECONDS = 60.0
"""Longer than any answer takes on a busy machine; beyond this the request hangs."""
ENGINE_FLAGS = ("--max-model-len", "512", "--max-num-batched-tokens", "128")
"""A budget that a CPU computes in a few milliseconds, so that gaps show the server's work and not the model's."""
STEADY = {"prompt": "def fibonacci(n):\n", "max_tokens": 200, "temperature": 0, "ignore_eos": True, "stream": True}
REFUSALS = {400, 401, 404, 405, 408, 411, 413, 415, 422, 429, 431}


@dataclass(slots=True)
class Report:
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """Seconds between two events of the steady stream while hostile requests ran."""
    quiet_gaps: list[float] = field(default_factory=list)
    """The same before them."""
    steady_streams: int = 0
    in_flight: dict[int, HostileRequest] = field(default_factory=dict)
    at_worst_gap: list[str] = field(default_factory=list)
    """The requests that were being answered at the end of the worst gap."""

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "faults": self.faults,
            "steady_streams": self.steady_streams,
            "gap_p50_seconds": _percentile(self.gaps, 0.5),
            "gap_p999_seconds": _percentile(self.gaps, 0.999),
            "gap_worst_seconds": max(self.gaps, default=0.0),
            "quiet_gap_worst_seconds": max(self.quiet_gaps, default=0.0),
            "in_flight_at_worst_gap": self.at_worst_gap,
        }


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def grammar_requests(count: int, seed: int, first: int = 0) -> list[HostileRequest]:
    """Return requests `first` to `first + count` of the grammar's sequence."""
    return list(islice(grammar.requests(seed), first, first + count))


async def drive(url: str, hostile: Iterable[HostileRequest]) -> Report:
    report = Report()
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        reference = await _steady_stream(session, report, report.quiet_gaps)
        numbered = enumerate(hostile)
        workers = [asyncio.create_task(_work(session, numbered, report)) for _ in range(WORKERS)]
        while not all(worker.done() for worker in workers):
            try:
                text = await _steady_stream(session, report, report.gaps)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                report.faults.append(f"the steady stream broke: {error!r}")
                break
            report.steady_streams += 1
            if text != reference:
                report.faults.append(f"the steady stream changed: {text!r} instead of {reference!r}")
        await asyncio.gather(*workers)
        async with session.get("/health") as health:
            if health.status != 200:
                report.faults.append(f"/health is {health.status} afterwards")
    return report


async def _steady_stream(session: aiohttp.ClientSession, report: Report, gaps: list[float]) -> str:
    """Return the stream's text; the times between its events go to `gaps`."""
    text, before, worst = "", None, max(gaps, default=0.0)
    decoder, state = sse.Decoder(), sse.StreamState()
    async with session.post("/v1/completions", json=STEADY) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}: {(await response.read())[:200]!r}")
        async for chunk in response.content.iter_any():
            for event in decoder.events(chunk):
                if payload := state.note(event):
                    text += payload["choices"][0]["text"]
            now = time.perf_counter()
            if before is not None:
                gaps.append(now - before)
                if now - before > worst:
                    worst, report.at_worst_gap = now - before, [*map(_shown, report.in_flight.items())]
            before = now
    if state.ending is not sse.Ending.COMPLETE:
        raise ValueError(f"it ended {state.ending}: {state.error}")
    return text


def _shown(numbered: tuple[int, HostileRequest]) -> str:
    number, request = numbered
    return f"request {number}: POST {request.path} {request.body[:400]!r}"


async def _work(session: aiohttp.ClientSession, hostile: Iterator[tuple[int, HostileRequest]], report: Report) -> None:
    for number, request in hostile:
        report.requests += 1
        report.in_flight[number] = request
        try:
            fault = await _ask(session, request, report)
        except TimeoutError:
            fault = f"no answer within {ANSWER_SECONDS:.0f} s"
        except aiohttp.ClientError as error:
            fault = f"the connection failed: {error!r}"
        del report.in_flight[number]
        if fault is not None:
            report.faults.append(f"{fault}; {_shown((number, request))}")


async def _ask(session: aiohttp.ClientSession, request: HostileRequest, report: Report) -> str | None:
    """Send a request; return its answer's fault, or None."""
    async with session.post(request.path, data=request.body, headers={"content-type": "application/json"}) as response:
        raw = await response.read()
    report.statuses[response.status] += 1
    if response.status == 200:
        streamed = response.content_type == "text/event-stream"
        return _fault_of_stream(raw) if streamed else _fault_of_answer(raw)
    if response.status not in REFUSALS:
        return f"status {response.status}: {raw[:300]!r}"
    try:
        message = json.loads(raw)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return f"status {response.status} without OpenAI's error object: {raw[:300]!r}"
    return None if isinstance(message, str) and message else f"an empty error message: {raw[:300]!r}"


def _fault_of_answer(raw: bytes) -> str | None:
    try:
        answer = json.loads(raw)
    except ValueError:
        return f"200 with what is not JSON: {raw[:200]!r}"
    return None if isinstance(answer, dict) and "error" not in answer else f"200 with {raw[:200]!r}"


def _fault_of_stream(raw: bytes) -> str | None:
    decoder, state, finished, choices = sse.Decoder(), sse.StreamState(), set(), set()
    for event in decoder.events(raw):
        for choice in (state.note(event) or {}).get("choices", ()):
            choices.add(choice["index"])
            if choice["finish_reason"] is not None:
                finished.add(choice["index"])
    if raw.count(sse.DONE) > 1:
        return "more than one [DONE]"
    if state.ending is sse.Ending.OPEN:
        return f"a stream without an end: {raw[-200:]!r}"
    if state.ending is sse.Ending.COMPLETE and finished != choices:
        return f"a complete stream without finish_reason: {raw[-300:]!r}"
    return None
