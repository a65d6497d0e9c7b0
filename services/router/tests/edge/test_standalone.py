"""`llm-router edge` as a process, before engines that already run. It imports no Ray."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE

import aiohttp

from llm_contract.testing import Script, ScriptedEngine

RUN = "import sys; from llm_router.cli import main; main(['edge', *sys.argv[1:]])"
WITHOUT_RAY = f"import sys; sys.modules['ray'] = None; {RUN}"


async def test_it_serves_and_drains_on_sigterm(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine(Script(model="a")) as one, ScriptedEngine(Script(model="b")) as other:
        late = ScriptedEngine(Script(model="c"))
        async with late:
            url = late.url
        flags = [flag for engine in (one.url, other.url, url) for flag in ("--engine", engine)]
        ports = ("--port", "0", "--admin-port", "0", "--policy", "p2c")
        edge = await asyncio.create_subprocess_exec(sys.executable, "-c", WITHOUT_RAY, *flags, *ports, stdout=PIPE)
        try:
            assert edge.stdout is not None
            base = (await edge.stdout.readline()).decode().strip()
            assert await _models(client, base) == ["a", "b"]
            for model in "ab":
                body = {"model": model, "prompt": "x"}
                async with client.post(base + "/v1/completions", json=body) as response:
                    assert response.status == 200
            await late.start()
            async with asyncio.timeout(20):
                while await _models(client, base) != ["a", "b", "c"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
            await late.stop()
            edge.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(edge.wait(), 20) == 0
        finally:
            if edge.returncode is None:
                edge.kill()
                await edge.wait()


async def test_an_unknown_flag_is_one_line() -> None:
    flags = ("--engine", "http://127.0.0.1:9", "--polcy", "p2c")
    edge = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, *flags, stderr=PIPE)
    _, error = await asyncio.wait_for(edge.communicate(), 30)
    assert edge.returncode == 2
    assert b"polcy" in error


async def _models(client: aiohttp.ClientSession, base: str) -> list[str]:
    async with client.get(base + "/v1/models") as response:
        return [model["id"] for model in (await response.json())["data"]]
