"""Changes by operators under load: no request fails."""

from __future__ import annotations

import asyncio
from collections import Counter

import aiohttp

from llm_contract.testing import Script, ScriptedEngine
from llm_gateway.testing import RunningGateway

CLIENTS = 8


class Load:
    """Closed-loop clients, half of them streaming; counts how requests end."""

    def __init__(self, client: aiohttp.ClientSession, gateway: RunningGateway) -> None:
        self._client = client
        self._gateway = gateway
        self._stop = asyncio.Event()
        self.ended: Counter[str] = Counter()
        self._tasks = [asyncio.create_task(self._run(index % 2 == 0)) for index in range(CLIENTS)]

    async def _run(self, stream: bool) -> None:
        body = {"prompt": "x", "max_tokens": 4, "stream": stream, "temperature": 0}
        while not self._stop.is_set():
            async with self._client.post(self._gateway.url + "/v1/completions", json=body) as response:
                answer = await response.read()
            whole = (
                response.status == 200 and b'"error"' not in answer and (not stream or answer.endswith(b"[DONE]\n\n"))
            )
            self.ended["ok" if whole else f"{response.status}: {answer[-200:]!r}"] += 1

    async def more(self, count: int) -> None:
        """Wait until that many more requests have ended."""
        wanted = self.ended.total() + count
        await self._gateway.until(lambda _: self.ended.total() >= wanted)

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 10.0)


async def test_engines_killed_and_started_one_after_the_other(client: aiohttp.ClientSession) -> None:
    script = Script(ttft=0.001, gaps=(0.001,))
    async with (
        ScriptedEngine(script) as one,
        ScriptedEngine(script) as other,
        RunningGateway(one.url, other.url) as gateway,
    ):
        load = Load(client, gateway)
        for engine in (one, other, one, other):
            await load.more(40)
            await engine.stop()
            await load.more(40)
            await engine.start()
            await gateway.until(lambda running: all(engine.up for engine in running.parts.pool.engines))
        await load.more(40)
        await load.stop()
        assert set(load.ended) == {"ok"}
        assert gateway.in_flight == gateway.waiting == 0


async def test_a_client_that_leaves_a_retried_request_frees_its_slot(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as one,
        ScriptedEngine() as other,
        RunningGateway(one.url, other.url, balancing="least_loaded") as gateway,
    ):
        one.headers_gate.close()
        other.headers_gate.close()
        sent = asyncio.create_task(client.post(gateway.url + "/v1/completions", json={"prompt": "x"}))
        await gateway.until(lambda _: bool(one.received or other.received))
        first, second = (one, other) if one.received else (other, one)
        await first.stop()
        await second.until(lambda: len(second.received) == 1)
        sent.cancel()
        async with asyncio.timeout(1.0):
            await second.until(lambda: len(second.aborted) == 1)
            await gateway.until(lambda running: running.in_flight == 0)
