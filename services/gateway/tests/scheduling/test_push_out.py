"""Tenants share a full queue, seen from outside."""

from __future__ import annotations

import asyncio

import aiohttp

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway


async def test_a_tenant_that_floods_the_queue_makes_room_for_another_one(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway({"url": engine.url, "max_in_flight": 1}, max_queue=3, shedding={"start": 1}) as gateway,
    ):

        async def ask(tenant: str) -> tuple[int, str]:
            headers = {"x-tenant": tenant}
            async with client.post(gateway.url + "/v1/completions", json={"prompt": "x"}, headers=headers) as answer:
                body = await answer.json()
                return answer.status, body.get("error", {}).get("message", "")

        engine.headers_gate.close()
        tasks = [asyncio.create_task(ask("flood"))]
        await engine.until(lambda: len(engine.received) == 1)
        for count in (1, 2, 3):
            tasks.append(asyncio.create_task(ask("flood")))
            await gateway.until(lambda one, count=count: one.waiting == count)  # type: ignore[misc]
        tasks.append(asyncio.create_task(ask("other")))
        status, message = await tasks[3]
        assert status == 429
        assert "the queue is full, and other tenants have fewer requests in it" in message
        assert gateway.waiting == 3
        engine.headers_gate.open()
        assert [(await task)[0] for task in (*tasks[:3], tasks[4])] == [200] * 4
        assert gateway.in_flight == gateway.waiting == 0
