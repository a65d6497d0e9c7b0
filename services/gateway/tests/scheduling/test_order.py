"""The order in which requests reach an engine that runs one at a time, seen from outside, on a manual clock."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway

ARRIVALS = [("batch", 0.0), ("standard", 1.0), ("interactive", 2.0), ("batch", 3.0), ("interactive", 4.0)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def order(client: aiohttp.ClientSession, arrivals: list[tuple[str, float]], **settings: object) -> list[str]:
    """Return class and arrival ("batch 0") of each request, in the order in which the engine received them."""
    clock = Clock()
    async with ScriptedEngine() as engine:
        one_at_a_time = {"url": engine.url, "max_in_flight": 1}
        async with RunningGateway(one_at_a_time, clock=clock, **settings) as gateway:

            async def ask(name: str, moment: float) -> None:
                headers = {"x-priority": name, "x-request-id": f"{name}-{moment:g}"}
                async with client.post(
                    gateway.url + "/v1/completions", json={"prompt": "x"}, headers=headers
                ) as answer:
                    assert answer.status == 200

            engine.headers_gate.close()
            tasks = [asyncio.create_task(ask("interactive", -1.0))]
            await engine.until(lambda: len(engine.received) == 1)
            for count, (name, moment) in enumerate(arrivals, start=1):
                clock.now = moment
                tasks.append(asyncio.create_task(ask(name, moment)))
                await gateway.until(lambda one, count=count: one.waiting == count)  # type: ignore[misc]
            engine.headers_gate.open()
            await asyncio.gather(*tasks)
            assert gateway.in_flight == gateway.waiting == 0
    return [request.headers["x-request-id"].replace("-", " ") for request in engine.received[1:]]


async def test_fcfs(client: aiohttp.ClientSession) -> None:
    assert await order(client, ARRIVALS, policy="fcfs") == [f"{name} {moment:g}" for name, moment in ARRIVALS]


@pytest.mark.parametrize("policy", ["priority", "aging", "composite"])
async def test_urgent_classes_go_first(client: aiohttp.ClientSession, policy: str) -> None:
    expected = ["interactive 2", "interactive 4", "standard 1", "batch 0", "batch 3"]
    assert await order(client, ARRIVALS, policy=policy) == expected


async def test_aging_serves_an_old_batch_request_before_new_interactive_ones(client: aiohttp.ClientSession) -> None:
    arrivals = [("batch", 0.0), ("interactive", 39.0), ("interactive", 41.0)]
    aged = await order(client, arrivals, policy="aging", aging_rate=0.05)
    strict = await order(client, arrivals, policy="priority")
    assert aged == ["interactive 39", "batch 0", "interactive 41"]
    assert strict == ["interactive 39", "interactive 41", "batch 0"]
