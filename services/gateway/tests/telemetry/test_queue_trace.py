"""A queue trace rebuilds the queue: who waits and who has a slot follow from its events, at every event."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.telemetry.queue_trace import SCHEMA
from llm_gateway.testing import RunningGateway

Event = dict[str, Any]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def replay(events: list[Event]) -> None:
    """Rebuild the queue and the slots, and compare them with the counters of each event."""
    slots = sum(engine["slots"] for engine in events[0]["engines"])
    waiting: dict[str, Event] = {}
    holders: list[str] = []
    for event in events[1:]:
        kind, name = event["event"], event["id"]
        if kind == "enqueue":
            waiting[name] = event
        elif kind == "grant":
            first = waiting.pop(name)
            assert all((first["key"], first["order"]) < (other["key"], other["order"]) for other in waiting.values())
            holders.append(name)
        elif kind == "release":
            holders.remove(name)
        elif kind == "leave":
            del waiting[name]
        if "waiting" in event and not (kind == "enqueue" and len(holders) < slots):  # that one is granted at once
            assert (len(waiting), len(holders)) == (event["waiting"], event["in_flight"])
    assert not waiting
    assert not holders


async def ask(client: aiohttp.ClientSession, url: str, cls: str) -> int:
    body = {"prompt": "x", "max_tokens": 2}
    sent = {"x-priority": cls, "traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
    async with client.post(f"{url}/v1/completions", json=body, headers=sent) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("policy", ["fcfs", "priority", "aging"])
async def test_events_rebuild_the_queue(client: aiohttp.ClientSession, tmp_path: Path, policy: str) -> None:
    path = tmp_path / "queue.jsonl"
    async with ScriptedEngine() as engine:
        engine.headers_gate.close()
        one = {"url": engine.url, "max_in_flight": 2}
        async with RunningGateway(one, policy=policy, max_queue=4, queue_trace=str(path)) as gateway:
            await gateway.until(lambda gateway: gateway.parts.pool.any_up())
            classes = ["batch", "standard", "batch", "interactive", "standard", "interactive", "batch"]
            tasks = []
            for count, cls in enumerate(classes, 1):
                tasks.append(asyncio.create_task(ask(client, gateway.url, cls)))
                await gateway.until(lambda gateway, count=count: gateway.waiting + gateway.in_flight >= min(count, 6))
            await asyncio.wait([tasks[-1]])
            tasks[2].cancel()
            await gateway.until(lambda gateway: gateway.waiting == 3)
            engine.headers_gate.open()
            statuses = [await task for task in tasks if not task.cancelled() and task is not tasks[2]]
    events = lines(path)
    replay(events)
    assert sorted(statuses) == [200] * 5 + [429]
    count = [event["event"] for event in events].count
    assert {kind: count(kind) for kind in ("enqueue", "grant", "release", "leave", "refuse")} == {
        "enqueue": 6,
        "grant": 5,
        "release": 5,
        "leave": 1,
        "refuse": 1,
    }
    reasons = {event["event"]: event["reason"] for event in events if "reason" in event}
    assert reasons == {"leave": "client_closed", "refuse": "queue_full"}
    assert {event["trace_id"] for event in events if "trace_id" in event} == {TRACE_ID}
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for event in events:
        validator.validate(event)


async def test_a_request_that_waited_too_long_leaves(client: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    classes = [{"name": "only", "priority": 0, "ttft_target": 1, "tpot_target": 1, "queue_timeout": 0.05}]
    async with ScriptedEngine() as engine:
        engine.headers_gate.close()
        more: dict[str, Any] = {"classes": classes, "default_class": "only", "queue_trace": str(path)}
        async with RunningGateway({"url": engine.url, "max_in_flight": 1}, **more) as gateway:
            await gateway.until(lambda gateway: gateway.parts.pool.any_up())
            first = asyncio.create_task(ask(client, gateway.url, "only"))
            await gateway.until(lambda gateway: gateway.in_flight == 1)
            assert await ask(client, gateway.url, "only") == 408
            engine.headers_gate.open()
            assert await first == 200
    events = lines(path)
    replay(events)
    (left,) = [event for event in events if event["event"] == "leave"]
    assert left["reason"] == "queue_timeout"
    assert left["wait"] >= 0.05
