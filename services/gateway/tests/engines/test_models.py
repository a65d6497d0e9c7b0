"""Engines with different models behind one gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from llm_contract.testing import Script, ScriptedEngine
from llm_gateway.engines.models import model_cards
from llm_gateway.testing import RunningGateway

COMPLETIONS = "/v1/completions"
UNUSED = "http://127.0.0.1:9"


def named(model: str) -> ScriptedEngine:
    return ScriptedEngine(Script(model=model))


async def ask(
    client: aiohttp.ClientSession, gateway: RunningGateway, path: str = COMPLETIONS, **body: Any
) -> tuple[int, Any, str | None]:
    """Return status, body and the engine's name."""
    async with client.post(gateway.url + path, json={"prompt": "x", **body}) as response:
        return response.status, await response.json(), response.headers.get("x-engine")


async def get(client: aiohttp.ClientSession, gateway: RunningGateway, path: str) -> tuple[int, Any]:
    async with client.get(gateway.url + path) as response:
        return response.status, await response.json()


async def test_a_request_goes_to_an_engine_that_serves_its_model(client: aiohttp.ClientSession) -> None:
    async with (
        named("llama") as one,
        named("qwen") as two,
        RunningGateway({"url": one.url, "name": "a"}, {"url": two.url, "name": "b"}) as gateway,
    ):
        for _ in range(3):
            assert (await ask(client, gateway, model="llama"))[::2] == (200, "a")
            assert (await ask(client, gateway, model="qwen"))[::2] == (200, "b")
            assert (await ask(client, gateway, path="/tokenize", model="qwen"))[::2] == (200, "b")
        assert (await ask(client, gateway))[0] == 200
        status, body, _ = await ask(client, gateway, model="gpt-9")
        assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")
        assert body["error"]["message"] == "The model `gpt-9` does not exist."
        assert (await ask(client, gateway, path="/tokenize", model="gpt-9"))[0] == 404


async def test_the_models_of_all_engines_are_one_list(client: aiohttp.ClientSession) -> None:
    async with (
        named("org/llama") as one,
        named("qwen") as two,
        named("qwen") as three,
        RunningGateway(one.url, two.url, three.url, aliases={"gpt-4o": "qwen", "absent": "none"}) as gateway,
    ):
        status, body = await get(client, gateway, "/v1/models")
        assert (status, body["object"]) == (200, "list")
        assert [card["id"] for card in body["data"]] == ["org/llama", "qwen", "gpt-4o"]
        for name in ("org/llama", "org%2Fllama", "qwen", "gpt-4o"):
            status, card = await get(client, gateway, f"/v1/models/{name}")
            assert (status, card["id"], card["object"]) == (200, name.replace("%2F", "/"), "model")
        for name in ("gpt-9", "absent", "org"):
            status, body = await get(client, gateway, f"/v1/models/{name}")
            assert (status, body["error"]["code"]) == (404, "model_not_found")


async def test_an_alias_becomes_the_engines_name_and_the_rest_of_the_body_is_as_it_came(
    client: aiohttp.ClientSession,
) -> None:
    async with named("qwen") as engine, RunningGateway(engine.url, aliases={"gpt-4o": "qwen"}) as gateway:
        raw = b'{"prompt": "x",  "model": "gpt-4o", "seed": 9007199254740993, "top_p": 0.10}'
        async with client.post(gateway.url + COMPLETIONS, data=raw) as response:
            assert response.status == 200
            assert (await response.json())["model"] == "qwen"
        sent = b'{"prompt": "x","model":"qwen","seed": 9007199254740993,"top_p": 0.10}'
        assert engine.received[0].raw == sent


async def test_a_model_whose_engines_are_down_is_503_and_the_others_are_served(client: aiohttp.ClientSession) -> None:
    async with (
        named("llama") as one,
        named("qwen") as two,
        RunningGateway({"url": one.url, "name": "a"}, {"url": two.url, "name": "b"}, probe_interval=0.05) as gateway,
    ):
        await two.stop()
        await gateway.until(lambda running: not running.parts.pool.engines[1].up)
        async with client.post(gateway.url + COMPLETIONS, json={"prompt": "x", "model": "qwen"}) as response:
            assert response.status == 503
            assert response.headers["retry-after"] == "1"
            message = (await response.json())["error"]["message"]
        assert "b: " in message
        assert "a: " not in message
        assert (await ask(client, gateway, model="llama"))[0] == 200
        _, models = await get(client, gateway, "/v1/models")
        assert [card["id"] for card in models["data"]] == ["llama", "qwen"]
        await two.start()
        await gateway.until(lambda running: running.parts.pool.engines[1].up)
        assert (await ask(client, gateway, model="qwen"))[0] == 200


async def test_a_name_that_an_engine_may_have_that_was_never_up_is_503(client: aiohttp.ClientSession) -> None:
    async with named("llama") as engine, RunningGateway(engine.url, UNUSED) as gateway:
        assert (await ask(client, gateway, model="qwen"))[0] == 503
    async with named("llama") as engine, RunningGateway(engine.url, {"url": UNUSED, "models": ["phi"]}) as gateway:
        assert (await ask(client, gateway, model="qwen"))[0] == 404
        assert (await ask(client, gateway, model="phi"))[0] == 503


async def test_models_that_only_the_client_may_read_come_from_an_engine(client: aiohttp.ClientSession) -> None:
    """The engine has a key that clients know and the gateway does not."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v1/models" and request.headers.get("authorization") != "Bearer theirs":
            return web.Response(status=401)
        return web.json_response({"object": "list", "data": [{"id": "hidden"}], "choices": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with RunningGateway(f"http://127.0.0.1:{runner.addresses[0][1]}") as gateway:
        headers = {"authorization": "Bearer theirs"}
        async with client.get(f"{gateway.url}/v1/models", headers=headers) as response:
            assert [card["id"] for card in (await response.json())["data"]] == ["hidden"]
        assert (await ask(client, gateway, model="anything"))[0] == 200
    await runner.cleanup()


async def test_models_of_the_configuration_need_no_discovery(client: aiohttp.ClientSession) -> None:
    async with (
        named("served-as-this") as engine,
        RunningGateway({"url": engine.url, "models": ["served-as-this", "adapter"]}) as gateway,
    ):
        _, models = await get(client, gateway, "/v1/models")
        assert [card["id"] for card in models["data"]] == ["served-as-this", "adapter"]
        assert (await ask(client, gateway, model="other"))[0] == 404


async def test_a_busy_model_holds_up_no_other_model(client: aiohttp.ClientSession) -> None:
    """Each engine has one slot. The queue is full of requests for the first model when one for the second arrives."""
    async with (
        named("llama") as one,
        named("qwen") as two,
        RunningGateway(
            {"url": one.url, "name": "a", "max_in_flight": 1},
            {"url": two.url, "name": "b", "max_in_flight": 1},
            max_queue=2,
        ) as gateway,
    ):
        one.headers_gate.close()
        two.headers_gate.close()
        first = [asyncio.create_task(ask(client, gateway, model="llama")) for _ in range(3)]
        await gateway.until(lambda running: running.waiting == 2)
        assert (await ask(client, gateway, model="llama"))[0] == 429
        second = [asyncio.create_task(ask(client, gateway, model="qwen")) for _ in range(3)]
        await gateway.until(lambda running: running.waiting == 4)
        two.headers_gate.open()
        assert [status for status, _, _ in await asyncio.gather(*second)] == [200] * 3
        one.headers_gate.open()
        assert [status for status, _, _ in await asyncio.gather(*first)] == [200] * 3


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (b'{"data": [{"id": "a"}, {"id": "b"}]}', ["a", "b"]),
        (b'{"data": []}', []),
        (b'{"data": [{"id": 1}]}', None),
        (b'{"data": [{"id": []}]}', None),
        (b'{"data": ["a"]}', None),
        (b'{"data": [{}]}', None),
        (b'{"data": null}', None),
        (b'{"data": 3}', None),
        (b"[]", None),
        (b"null", None),
        (b"not JSON", None),
        (b"", None),
    ],
)
def test_what_an_engine_says_of_its_models(page: bytes, names: list[str] | None) -> None:
    found = model_cards(page)
    assert (None if found is None else list(found)) == names
