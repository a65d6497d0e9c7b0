"""The gateway as a process: it prints its URL, drains on SIGTERM, and refuses a port in use."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from llm_contract.testing import ScriptedEngine
from llm_gateway.tenancy.keys import key_hash

PYTHON_PATH = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "llm_gateway", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=PYTHON_PATH)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()


async def test_sigterm_drains_and_loses_nothing(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, started("--engines", engine.url, "--port", "0") as process:
        url = await url_of(process)

        async def ask() -> bytes:
            async with client.post(f"{url}/v1/completions", json={"prompt": "x", "stream": True}) as response:
                return await response.read()

        engine.chunk_gate.close()
        engine.chunk_gate.release(1)
        answer = asyncio.create_task(ask())
        await engine.until(lambda: engine.chunk_gate.parked == 1)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while b"draining" not in await asyncio.wait_for(process.stderr.readline(), 10):
            pass
        async with client.get(f"{url}/ready") as response:
            assert response.status == 503
        async with client.post(f"{url}/v1/completions", json={"prompt": "x"}) as response:
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            assert (await response.json())["error"]["code"] == "draining"
        engine.chunk_gate.open()
        assert (await answer).endswith(b"data: [DONE]\n\n")
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_lame_duck_serves_on_and_closes_its_connections(client: aiohttp.ClientSession) -> None:
    flags = ("--port", "0", "--lame-duck", "60")
    async with ScriptedEngine() as engine, started("--engines", engine.url, *flags) as process:
        url = await url_of(process)

        async def ask(stream: bool) -> tuple[int, str | None]:
            async with client.post(f"{url}/v1/completions", json={"prompt": "x", "stream": stream}) as response:
                await response.read()
                return response.status, response.headers.get("connection")

        assert await ask(False) == (200, None)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while b"draining" not in await asyncio.wait_for(process.stderr.readline(), 10):
            pass
        async with client.get(f"{url}/ready") as response:
            assert response.status == 503
        assert await ask(False) == (200, "close")
        assert await ask(True) == (200, "close")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_second_signal_does_not_wait(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, started("--engines", engine.url, "--port", "0") as process:
        url = await url_of(process)
        engine.headers_gate.close()
        asked = asyncio.ensure_future(client.post(f"{url}/v1/completions", json={"prompt": "x"}).__aenter__())
        await engine.until(lambda: len(engine.received) == 1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while b"draining" not in await asyncio.wait_for(process.stderr.readline(), 10):
            pass
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert isinstance((await asyncio.gather(asked, return_exceptions=True))[0], aiohttp.ClientError)
        await engine.until(lambda: len(engine.aborted) == 1)


async def test_a_taken_port_is_one_clear_line() -> None:
    async with ScriptedEngine() as engine, started("--engines", engine.url, "--port", str(engine.port)) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 1
        last = errors.decode().strip().splitlines()[-1]
        assert last.startswith(f"llm-gateway: cannot listen on 127.0.0.1:{engine.port}")


async def test_sighup_reloads_what_is_right_and_refuses_what_is_wrong(
    client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as two:
        config = tmp_path / "gateway.yaml"
        config.write_text(f"port: 0\nengines: [{one.url}]\n")
        async with started("--config", str(config)) as process:
            url = await url_of(process)
            config.write_text(f"port: 0\nengines: [{one.url}\n")
            process.send_signal(signal.SIGHUP)
            await said(process, b"reload refused, the old configuration stays")
            config.write_text(f"port: 0\nengines: [{two.url}]\n")
            process.send_signal(signal.SIGHUP)
            await said(process, b"reload applied: engines")
            await said(process, b"is down: removed")
            async with client.post(f"{url}/v1/completions", json={"prompt": "x"}) as response:
                assert response.status == 200
            assert (len(one.received), len(two.received)) == (0, 1)
            async with client.get(f"{url}/metrics") as response:
                assert 'gateway_config_reloads_total{result="refused"} 1.0' in await response.text()


async def test_the_admin_api_has_its_own_port_and_key_and_drains(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine:
        flags = ("--engines", engine.url, "--port", "0", "--admin.port", "0", "--admin.key", key_hash("k"))
        async with started(*flags) as process:
            url = await url_of(process)
            admin = (await said(process, b"admin API on ")).split()[-1].decode()
            async with client.get(f"{url}/admin/engines") as response:
                assert response.status == 404
            async with client.post(f"{admin}/admin/drain") as response:
                assert response.status == 401
            async with client.post(f"{admin}/admin/drain", headers={"authorization": "Bearer k"}) as response:
                assert response.status == 202
            assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_an_admin_api_without_a_configured_key_has_one_of_its_own(client: aiohttp.ClientSession) -> None:
    async with started("--engines", "http://127.0.0.1:9", "--port", "0", "--admin.port", "0") as process:
        key = (await said(process, b"admin key, shown this once: ")).split()[-1].decode()
        admin = (await said(process, b"admin API on ")).split()[-1].decode()
        for given, status in (({}, 401), ({"authorization": f"Bearer {key}"}, 200)):
            async with client.get(f"{admin}/admin/engines", headers=given) as response:
                assert response.status == status


async def test_an_engine_that_does_not_resolve_is_down_and_the_others_serve(client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        started("--engines", f"{engine.url},http://engine.invalid:8000", "--port", "0") as process,
    ):
        url = await url_of(process)
        async with client.get(f"{url}/ready") as response:
            states = (await response.json())["engines"]
        assert states["engine.invalid:8000"] == "down: /health: its host name does not resolve"
        async with client.post(f"{url}/v1/completions", json={"prompt": "x"}) as response:
            assert response.status == 200
        process.terminate()
        _, log = await asyncio.wait_for(process.communicate(), 20)
        assert b"Traceback" not in log


async def test_an_engine_url_with_a_typo_is_one_line_at_start() -> None:
    async with started("--engines", "http://127.0.0.1:9,http://engine..svc:8000", "--port", "0") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 2
        (line,) = errors.decode().splitlines()
        assert line.startswith("llm-gateway: engines.1.url: ")
        assert "'http://engine..svc:8000' is not a base URL: the host 'engine..svc' has an empty label" in line


async def test_it_does_not_listen_to_the_world_without_keys() -> None:
    async with started("--engines", "http://127.0.0.1:9", "--host", "0.0.0.0") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 2
        assert b"keys are required to listen on 0.0.0.0" in errors


async def test_key_new_prints_a_key() -> None:
    async with started("key", "new") as process:
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0
        assert key_hash(output.split()[4].decode()) in output.decode()


async def said(process: asyncio.subprocess.Process, words: bytes) -> bytes:
    """Return the next line of the log that contains `words`."""
    assert process.stderr is not None
    while words not in (line := await asyncio.wait_for(process.stderr.readline(), 10)):
        assert line, f"the gateway ended without saying {words!r}"
    return line
