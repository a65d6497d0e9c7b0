"""Real vLLM behind the gateway, twice: its answers, the requests that reach it, and the death of one of the two.

    ./lab vllm && .venv/bin/python -m pytest tests/vllm

The tests run in the order in which they stand; the last one kills a server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import openai
import pytest
from support import eventually, kill, metric

from llm_lab.service import Running

StartGateway = Callable[..., Running]

MESSAGES: Any = [{"role": "user", "content": "Write a loop."}]
LONG: dict[str, Any] = {"model": "main", "prompt": "import", "max_tokens": 900, "ignore_eos": True, "temperature": 0}
MAX_ATTEMPTS = 8
"""To see vLLM's running requests before they end; on a starved machine a look at its metrics can take seconds."""
FREED_SECONDS = 1.0
"""From a client's hang-up to a free slot at vLLM."""
SCHEMA = {
    "type": "object",
    "properties": {"language": {"enum": ["python", "rust"]}, "typed": {"type": "boolean"}},
    "required": ["language", "typed"],
    "additionalProperties": False,
}


@pytest.fixture
def client(servers: list[Running], start_gateway: StartGateway) -> openai.OpenAI:
    """The official client, on a gateway over both servers."""
    return openai.OpenAI(base_url=f"{start_gateway(*servers).url}/v1", api_key="none", max_retries=0)


def test_completions_and_chat_whole_and_streamed_agree(client: openai.OpenAI) -> None:
    asked: Any = {"model": "main", "prompt": "def main():", "max_tokens": 24, "temperature": 0}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text != ""
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens == 24

    chat = client.chat.completions.create(model="main", messages=MESSAGES, max_tokens=16, temperature=0)
    stream = client.chat.completions.create(model="main", messages=MESSAGES, max_tokens=16, temperature=0, stream=True)
    text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    assert text == chat.choices[0].message.content != ""
    assert [model.id for model in client.models.list()] == ["main"]


def test_logprobs(client: openai.OpenAI) -> None:
    done = client.completions.create(model="main", prompt="import", max_tokens=3, temperature=0, logprobs=2)
    found = done.choices[0].logprobs
    assert found is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert len(found.token_logprobs) == 3
    assert all(len(top) >= 2 and max(top.values()) <= 0 for top in found.top_logprobs)
    chat = client.chat.completions.create(
        model="main", messages=MESSAGES, max_tokens=3, logprobs=True, top_logprobs=2, temperature=0
    )
    assert chat.choices[0].logprobs is not None
    assert [len(token.top_logprobs) for token in chat.choices[0].logprobs.content or []] == [2, 2, 2]


def test_structured_output_follows_its_schema(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(
        model="main",
        messages=MESSAGES,
        max_tokens=200,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "choice", "schema": SCHEMA, "strict": True}},
    )
    answer = json.loads(chat.choices[0].message.content or "")
    assert answer.keys() == {"language", "typed"}
    assert answer["language"] in ("python", "rust")
    assert isinstance(answer["typed"], bool)


def test_vllms_own_refusals_come_through(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.completions.create(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="main", prompt="x", max_tokens=-1)
    with pytest.raises(openai.BadRequestError, match="1024"):
        client.completions.create(model="main", prompt=[5] * 2000, max_tokens=1)


@pytest.mark.parametrize("takes_priority", [True, False])
async def test_priority_reaches_vllm_and_decides_there(
    takes_priority: bool, servers: list[Running], start_gateway: StartGateway, client_session: aiohttp.ClientSession
) -> None:
    server = servers[0]
    gateway = start_gateway(server, engine={"takes_priority": takes_priority, "max_in_flight": 16})
    order: list[str] = []
    attempts = 0
    while not order and attempts < MAX_ATTEMPTS:
        order = await order_behind_two(server, f"{gateway.url}/v1/completions", client_session)
        attempts += 1
    assert order, f"the running requests ended before a line had formed, {MAX_ATTEMPTS} times"
    # Two run at a time, so the last in line ends together with one other.
    assert order.index("interactive") <= 1 if takes_priority else order.index("interactive") >= 3, order


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_is_seen_in_vllms_own_metrics(
    stream: bool, servers: list[Running], start_gateway: StartGateway, client_session: aiohttp.ClientSession
) -> None:
    server = servers[0]
    gateway = start_gateway(server)
    generated = metric(server.url, "vllm:generation_tokens_total")
    body = {**LONG, "stream": stream}
    for _ in range(MAX_ATTEMPTS):
        request = asyncio.create_task(read_first(client_session, f"{gateway.url}/v1/completions", body))
        if stream:
            assert await request
            break
        if await seen(server, "vllm:num_requests_running", 1, [request]):
            request.cancel()
            break
        generated = metric(server.url, "vllm:generation_tokens_total")
    else:
        pytest.fail(f"the request ended before it was seen to run, {MAX_ATTEMPTS} times")
    assert await asyncio.to_thread(
        eventually, lambda: metric(server.url, "vllm:num_requests_running") == 0, FREED_SECONDS
    )
    assert metric(server.url, "vllm:generation_tokens_total") - generated < LONG["max_tokens"]
    assert metric(gateway.url, "gateway_in_flight") == 0


async def test_prefix_affinity_shows_in_vllms_hit_counters(
    servers: list[Running], start_gateway: StartGateway, client_session: aiohttp.ClientSession
) -> None:
    gateway = start_gateway(*servers, balancing="prefix")
    before = hits_and_queries(servers)
    places: dict[int, set[str]] = {document: set() for document in range(6)}

    async def ask(document: int, turn: int) -> None:
        prompt = f"# document {document}\n" + f"def function_{document}(x):\n    return x + {document}\n" * 24
        body = {"model": "main", "prompt": f"{prompt}# turn {turn}", "max_tokens": 1}
        async with client_session.post(f"{gateway.url}/v1/completions", json=body) as response:
            assert response.status == 200, await response.text()
            places[document].add(response.headers["x-engine"])

    # All documents at once: the balancer spreads them by load. Between idle engines it draws, and six draws can agree.
    await asyncio.gather(*(ask(document, 0) for document in places))
    for turn in range(1, 4):
        for document in places:
            await ask(document, turn)
    hits, queries = (after - was for after, was in zip(hits_and_queries(servers), before, strict=True))
    assert all(len(engines) == 1 for engines in places.values()), places
    assert {engine for engines in places.values() for engine in engines} == {server.name for server in servers}
    assert hits / queries > 0.5


async def test_a_server_killed_under_load_costs_no_request_that_had_not_begun(
    servers: list[Running], start_gateway: StartGateway, client_session: aiohttp.ClientSession
) -> None:
    victim, survivor = servers
    gateway = start_gateway(victim, survivor, engine={"max_in_flight": 4}, balancing="least_loaded", probe_interval=0.2)
    url = f"{gateway.url}/v1/completions"
    body = {**LONG, "max_tokens": 240}
    whole = [asyncio.create_task(status_of(client_session, url, body)) for _ in range(16)]
    streams = [asyncio.create_task(read_stream(client_session, url, {**body, "stream": True})) for _ in range(8)]
    assert all(await asyncio.gather(*(waits_for(server, "vllm:num_requests_running", 2) for server in servers)))
    begun = {task for task in whole if task.done()}
    kill(victim)
    assert await asyncio.gather(*whole) == [200] * 16
    assert len(begun) < 16, "the server died too late to matter"
    for engine, last in await asyncio.gather(*streams):
        assert last == b"[DONE]" or (engine == victim.name and b"engine_failed" in last), (engine, last)
    async with client_session.get(f"{gateway.url}/ready") as response:
        engines = (await response.json())["engines"]
    assert engines[victim.name].startswith("down")
    assert engines[survivor.name] == "up"


# --- helpers --------------------------------------------------------------------------------------------------------


async def seen(server: Running, name: str, value: float, running: Sequence[asyncio.Task[Any]]) -> bool:
    """Return whether the metric has the value at some time before the first of the running requests ends."""
    while not any(task.done() for task in running):
        if await asyncio.to_thread(metric, server.url, name) == value:
            return True
    return False


async def waits_for(server: Running, name: str, value: float) -> bool:
    return await asyncio.to_thread(eventually, lambda: metric(server.url, name) == value, 30.0)


def hits_and_queries(servers: list[Running]) -> tuple[float, float]:
    """Tokens found in the prefix cache and tokens looked up, of all servers."""
    names = ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")
    hits, queries = (sum(metric(server.url, name) for server in servers) for name in names)
    return hits, queries


async def order_behind_two(server: Running, url: str, client: aiohttp.ClientSession) -> list[str]:
    """Queue four batch requests and an interactive one behind two running ones. Return the order in which the five end.

    Return an empty list if the running requests ended before all five were seen waiting.
    """
    finished: list[str] = []

    async def ask(name: str, priority_class: str, max_tokens: int) -> None:
        body = {**LONG, "max_tokens": max_tokens}
        async with client.post(url, json=body, headers={"x-priority": priority_class}) as response:
            assert response.status == 200, await response.text()
        finished.append(name)

    running = [asyncio.create_task(ask("running", "batch", LONG["max_tokens"])) for _ in range(2)]
    formed = await seen(server, "vllm:num_requests_running", 2, running)
    waiting = [asyncio.create_task(ask("batch", "batch", 40)) for _ in range(4)]
    formed = formed and await seen(server, "vllm:num_requests_waiting", 4, running)
    waiting.append(asyncio.create_task(ask("interactive", "interactive", 40)))
    formed = formed and await seen(server, "vllm:num_requests_waiting", 5, running)
    await asyncio.gather(*running, *waiting)
    return [name for name in finished if name != "running"] if formed else []


async def status_of(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> int:
    async with client.post(url, json=body) as response:
        await response.read()
        return response.status


async def read_first(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bytes:
    """The answer's first line; then the client hangs up."""
    async with client.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        return await response.content.readline()


async def read_stream(client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """The engine that answered first, and the last event's data."""
    async with client.post(url, json=body) as response:
        assert response.status == 200
        events = [line async for line in response.content if line.startswith(b"data: ")]
        return response.headers["x-engine"], events[-1].removeprefix(b"data: ").strip()
