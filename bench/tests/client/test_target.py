import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from llm_bench.client.credentials import Credentials
from llm_bench.client.target import Target, find_target
from llm_bench.errors import TargetError
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


@pytest.mark.parametrize(
    "body",
    [
        "{}", "[]", '{"data": 3}', '{"data": ["m"]}', "null", '{"data": [{}]}', '{"data": [{"id": 7}]}',
        '{"data": [{"id": null}]}', '{"data": [{"id": ""}]}', '{"data": [{"id": []}]}', '{"data": [[["id", "m"]]]}',
        '{"data": {"id": "m"}}', '{"data": "m"}', "\xff",
    ],
)  # fmt: skip
async def test_json_that_is_no_model_list_is_refused(body: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    async with serving(answer) as url:
        with pytest.raises(TargetError, match="not a model list"):
            await look(url)


@pytest.mark.parametrize("length", ["null", '"4096"', "-1", "0", "4096.5", "true", "[]", "1e30"])
async def test_a_context_length_that_is_none_is_not_known(length: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f'{{"data": [{{"id": "m", "max_model_len": {length}}}], "version": {length}}}')

    async with serving(answer) as url:
        target = await look(url)

    assert (target.model, target.max_model_len) == ("m", None)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a b/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_target_that_does_not_speak_http_is_an_error_of_the_target(head: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        with pytest.raises(TargetError):
            await look(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


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
