from __future__ import annotations

import asyncio

import aiohttp

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway


async def test_a_full_queue_answers_429_with_retry_after_and_recovers(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway({"url": engine.url, "max_in_flight": 1}, max_queue=2) as gateway,
    ):

        async def ask() -> int:
            async with client.post(gateway.url + "/v1/completions", json={"prompt": "x"}) as response:
                if response.status == 429:
                    assert 1 <= int(response.headers["retry-after"]) <= 60
                    error = (await response.json())["error"]
                    assert error["code"] == "queue_full"
                    assert "2 requests wait" in error["message"]
                return response.status

        engine.headers_gate.close()
        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        await gateway.until(lambda one: one.waiting == 2 and one.in_flight == 1)
        assert gateway.sample("gateway_queue_depth", **{"class": "standard"}) == 2
        assert await ask() == 429
        engine.headers_gate.open()
        assert await asyncio.gather(*tasks) == [200, 200, 200]
        assert await ask() == 200
        outcome = {"class": "standard", "outcome": "queue_full"}
        assert gateway.sample("gateway_requests_total", **outcome) == 1


async def test_an_engine_never_gets_more_than_its_limit_and_waits_are_late_bound(client: aiohttp.ClientSession) -> None:
    """The request that waited goes to whichever engine is free first."""
    async with ScriptedEngine() as slow, ScriptedEngine() as fast:
        engines = [{"url": one.url, "max_in_flight": 2} for one in (slow, fast)]
        async with RunningGateway(*engines) as gateway:

            async def ask() -> int:
                async with client.post(gateway.url + "/v1/completions", json={"prompt": "x"}) as response:
                    return response.status

            slow.headers_gate.close()
            fast.headers_gate.close()
            tasks = [asyncio.create_task(ask()) for _ in range(9)]
            await slow.until(lambda: len(slow.received) == 2)
            await fast.until(lambda: len(fast.received) == 2)
            await gateway.until(lambda one: one.waiting == 5)
            fast.headers_gate.open()
            await fast.until(lambda: len(fast.received) == 7)
            assert len(slow.received) == 2
            slow.headers_gate.open()
            assert await asyncio.gather(*tasks) == [200] * 9
