import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from llm_bench.credentials import Credentials
from llm_bench.errors import TargetError
from llm_bench.target import Target, find_target
from llm_contract.testing import Script, ScriptedEngine

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def look(url: str, model: str | None = None) -> Target:
    return await asyncio.to_thread(find_target, url, model)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server that answers everything with `handler`; yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_the_first_model_is_taken_and_what_the_server_says_is_noted() -> None:
    async with ScriptedEngine(Script(model="m", max_model_len=99)) as engine:
        target = await look(engine.url + "/v1/")

    assert target == Target(engine.url, "127.0.0.1", engine.port, False, "", "m", 99, "scripted")


async def test_a_url_may_come_without_a_scheme() -> None:
    async with ScriptedEngine() as engine:
        assert (await look(f"127.0.0.1:{engine.port}")).url == engine.url


async def test_an_unknown_model_is_refused_with_the_list() -> None:
    async with ScriptedEngine(Script(model="m")) as engine:
        with pytest.raises(TargetError, match="no model 'gpt'; it serves: m"):
            await look(engine.url, "gpt")


async def test_a_target_that_is_down_is_reported_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        start = time.monotonic()
        with pytest.raises(TargetError, match=r"nothing answers at .*refused"):
            await look(f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert time.monotonic() - start < 5


async def test_a_target_that_accepts_and_says_nothing_is_reported_within_five_seconds() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        start = time.monotonic()
        with pytest.raises(TargetError, match=r"nothing answers at .*timed out"):
            await look(f"http://127.0.0.1:{mute.getsockname()[1]}")
    assert time.monotonic() - start < 5


async def test_html_is_reported_as_what_it_is() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html><title>Welcome to nginx!</title>", content_type="text/html")

    async with serving(page) as url:
        with pytest.raises(TargetError, match=r"text/html that is not a model list: .*Welcome to nginx"):
            await look(url)


@pytest.mark.parametrize("body", ["{}", "[]", '{"data": 3}', '{"data": ["m"]}', "null"])
async def test_json_that_is_no_model_list_is_refused(body: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    async with serving(answer) as url:
        with pytest.raises(TargetError, match="not a model list"):
            await look(url)


async def test_a_target_without_the_list_needs_the_models_name() -> None:
    async def not_found(_: web.Request) -> web.Response:
        return web.Response(status=404, text="no such page")

    async with serving(not_found) as url:
        with pytest.raises(TargetError, match="HTTP 404: 'no such page'"):
            await look(url)
        assert (await look(url, "m")).model == "m"


async def test_an_empty_model_list_is_reported() -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async with serving(empty) as url:
        with pytest.raises(TargetError, match="still starting"):
            await look(url)


@pytest.mark.parametrize("url", ["", "ftp://host", "http://", "http://host:port", "http://host:99999"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match="is not a target URL"):
        await look(url)


async def test_a_key_goes_to_the_target_and_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends the look for its version on to another server, which must not see the key."""
    monkeypatch.setenv("OURS", "sk-ours")
    seen: dict[str, str | None] = {}

    async def elsewhere(request: web.Request) -> web.Response:
        seen["elsewhere"] = request.headers.get("Authorization")
        return web.json_response({"version": "9"})

    async def target(request: web.Request) -> web.Response:
        seen[request.path] = request.headers.get("Authorization")
        if request.path == "/version":
            raise web.HTTPFound(other)
        return web.json_response({"data": [{"id": "m"}]})

    async with serving(elsewhere) as other, serving(target) as url:
        found = await asyncio.to_thread(find_target, url, None, Credentials("OURS"))

    assert found.version == "9"
    assert seen == {"/v1/models": "Bearer sk-ours", "/version": "Bearer sk-ours", "elsewhere": None}


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        (Credentials(), "no API key was sent; name one with --api-key-env"),
        (Credentials("OURS"), "the API key was refused"),
    ],
)
async def test_a_target_that_wants_another_key_is_told_and_the_key_is_not_repeated(
    credentials: Credentials, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "sk-ours")

    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": f"not valid: {request.headers.get('Authorization')}"}, status=401)

    async with serving(refuse) as url:
        with pytest.raises(TargetError) as raised:
            await asyncio.to_thread(find_target, url, None, credentials)

    assert f"answered HTTP 401 ({reason})" in str(raised.value)
    assert "sk-ours" not in str(raised.value)


async def test_a_server_without_tls_behind_an_https_url_is_told() -> None:
    async with ScriptedEngine() as engine:
        with pytest.raises(TargetError, match=r"nothing answers at https://.*\(.*SSL.*\); is the server up"):
            await look(f"https://127.0.0.1:{engine.port}")
