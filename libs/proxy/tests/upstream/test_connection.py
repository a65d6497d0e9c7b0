"""The lean HTTP client, against raw bytes on a socket: reading, reuse, and the exception for each failure."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from itertools import pairwise
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from llm_proxy.upstream import connection as upstream_http
from llm_proxy.upstream import pool as upstream_pool
from llm_proxy.upstream.connection import (
    MAX_BUFFERED_BYTES,
    MAX_HEAD_BYTES,
    ConnectFailed,
    Disconnected,
    HttpError,
    Malformed,
    Response,
    Silent,
    request_head,
)
from llm_proxy.upstream.pool import HttpClient

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a socket's end has no event here
            await asyncio.sleep(0.001)


async def ask(client: HttpClient, base: URL, body: bytes = b"{}") -> Response:
    return await client.send(base, "POST", "/v1/completions", {"x-request-id": "a"}, body=body)


async def test_a_request_is_what_was_asked_and_the_answer_what_came(serving: Any) -> None:
    answer = b"HTTP/1.1 418 Teapot\r\nContent-Type: Text/Plain; charset=x\r\nX-Twice: a\r\nx-twice: b\r\n"
    async with serving(answer + b"content-length: 3\r\n\r\nabc") as (server, client, base):
        response = await ask(client, base, b'{"prompt":1}')
        assert (response.status, response.content_type, response.headers["x-twice"]) == (418, "text/plain", "b")
        assert await response.read() == b"abc"
        assert await response.read_some() == b""
        host = f"127.0.0.1:{base.port}".encode()
        head = b"POST /v1/completions HTTP/1.1\r\nhost: " + host + b"\r\ncontent-length: 12\r\n"
        fields = b"accept-encoding: identity\r\nx-request-id: a\r\n\r\n"
        assert server.requests == [head + fields + b'{"prompt":1}']


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (HELLO, b"hello"),
        (CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\ntrailer: x\r\n\r\n", b"hello"),
        (OK + b"content-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + HELLO, b"hello"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" * 3 + HELLO, b"hello"),
    ],
)
async def test_a_connection_is_used_again_after_every_kind_of_whole_answer(
    answer: bytes, body: bytes, serving: Any
) -> None:
    async with serving(answer) as (server, client, base):
        for _ in range(3):
            response = await ask(client, base)
            assert await response.read() == body
            assert "link" not in response.headers
            response.close()
        assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize(
    "answer",
    [OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello", OK + b"\r\nhello"],
)
async def test_a_connection_that_the_engine_ends_is_not_used_again(answer: bytes, serving: Any) -> None:
    async def write_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with serving(write_and_close) as (server, client, base):
        for _ in range(2):
            assert await (await ask(client, base)).read() == b"hello"
        assert server.connections == 2


async def test_concurrent_requests_have_a_connection_each_and_the_last_used_is_next(serving: Any) -> None:
    gate = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(HELLO)

    async with serving(wait) as (server, client, base):
        tasks = [asyncio.create_task(ask(client, base)) for _ in range(5)]
        await until(lambda: len(server.requests) == 5)
        gate.set()
        for response in await asyncio.gather(*tasks):
            assert await response.read() == b"hello"
        await (await ask(client, base)).read()
        assert server.connections == client.open_connections() == 5


@given(cuts=st.lists(st.integers(1, 60), max_size=12))
def test_however_the_network_cuts_it_the_answer_is_the_same(serving: Any, cuts: list[int]) -> None:
    asyncio.run(_cut(serving, cuts))


async def _cut(serving: Any, cuts: list[int]) -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})

    async def write_cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start, end in pairwise(edges):
            writer.write(whole[start:end])
            await asyncio.sleep(0)

    async with serving(write_cut) as (_, client, base):
        assert await (await ask(client, base)).read() == b"hello"
        assert await (await ask(client, base)).read() == b"hello"


async def test_a_stream_is_given_out_as_it_comes(serving: Any) -> None:
    more = asyncio.Event()

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async with serving(stream) as (_, client, base):
        response = await ask(client, base)
        assert await response.read_some() == b"one"
        more.set()
        assert await response.read_some() == b"two"
        assert await response.read_some() == b""


async def test_a_pipe_gets_each_part_at_once_and_may_hand_back(serving: Any) -> None:
    more = asyncio.Event()

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")

    taken: list[bytes] = []

    def take(part: bytes) -> bool:
        taken.append(part)
        more.set()
        return part != b"two"

    async with serving(stream) as (_, client, base):
        response = await ask(client, base)
        await response.pipe(take)
        assert taken == [b"one", b"two"]
        await response.pipe(take)
        assert taken == [b"one", b"two", b"three"]
        await response.pipe(take)
        assert await response.read_some() == b""
        assert len(taken) == 3


async def test_a_pipe_ends_with_the_failure(serving: Any) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"3\r\none\r\n")
        writer.close()

    taken: list[bytes] = []
    async with serving(half) as (_, client, base):
        response = await ask(client, base)
        with pytest.raises(Disconnected):
            await response.pipe(lambda part: not taken.append(part))
        assert taken == [b"one"]


@pytest.mark.parametrize("byte", [0, 1, 11, 13, 31, 127])
async def test_control_characters_in_a_header_are_malformed(byte: int, serving: Any) -> None:
    async with serving(OK + b"content-type: a" + bytes([byte]) + b"b\r\ncontent-length: 0\r\n\r\n") as (
        _,
        client,
        base,
    ):
        with pytest.raises(Malformed):
            await ask(client, base)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", Disconnected),
        (b"HTTP/1.1 200", Disconnected),
        (OK + b"content-length: 9\r\n\r\nhello", Disconnected),
        (CHUNKED + b"5\r\nhel", Disconnected),
        (CHUNKED + b"5\r\nhello\r\n", Disconnected),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Malformed),
        (OK + b"content-length: five\r\n\r\n", Malformed),
        (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", Malformed),
        (OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Malformed),
        (CHUNKED + b"zz\r\nhello\r\n", Malformed),
        (OK + b"no colon\r\n\r\n", Malformed),
        (OK + b"x: " + b"y" * (MAX_HEAD_BYTES + 1), Malformed),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nzzz", Malformed),
    ],
)
@pytest.mark.parametrize("reset", [False, True])
async def test_each_failure_has_its_name(answer: bytes, kind: type[HttpError], reset: bool, serving: Any) -> None:
    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if kind is Malformed:
            await reader.read()
        if reset:
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        writer.close()

    async with serving(fail) as (server, client, base):
        with pytest.raises(HttpError) as failure:
            await (await ask(client, base)).read()
        assert type(failure.value) is kind
        assert client.open_connections() == 0
        assert len(server.requests) == 1


async def test_what_came_before_the_failure_is_given_out_first(serving: Any) -> None:
    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"3\r\none\r\n")
        await writer.drain()
        writer.close()

    async with serving(half) as (server, client, base):
        response = await ask(client, base)
        await until(lambda: server.ended == 1 and client.open_connections() == 0)
        assert await response.read_some() == b"one"
        with pytest.raises(Disconnected):
            await response.read_some()


async def test_more_than_was_asked_for_ends_the_connection_but_not_the_answer(serving: Any) -> None:
    async with serving(HELLO + HELLO) as (server, client, base):
        for _ in range(2):
            assert await (await ask(client, base)).read() == b"hello"
            await until(lambda: client.open_connections() == 0)
        assert server.connections == 2


async def test_bytes_on_an_idle_connection_end_it(serving: Any) -> None:
    chatter = asyncio.Event()

    async def chatty(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await chatter.wait()
        writer.write(b"HTT")

    async with serving(chatty) as (_, client, base):
        assert await (await ask(client, base)).read() == b"hello"
        assert client.open_connections() == 1
        chatter.set()
        await until(lambda: client.open_connections() == 0)


async def test_a_connection_closed_while_idle_costs_nothing(monkeypatch: pytest.MonkeyPatch, serving: Any) -> None:
    monkeypatch.setattr(upstream_http, "SERVERS_KEEP_IDLE_SECONDS", 0.0)
    number = 0

    async def close_second(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        if number == 2:
            writer.close()
        else:
            writer.write(HELLO)

    async with serving(close_second) as (server, client, base):
        for _ in range(2):
            assert await (await ask(client, base)).read() == b"hello"
        assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_connection_in_steady_use_that_breaks_off_is_a_failure(serving: Any) -> None:
    number = 0

    async def close_second(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        if number == 2:
            writer.close()
        else:
            writer.write(HELLO)

    async with serving(close_second) as (server, client, base):
        await (await ask(client, base)).read()
        with pytest.raises(Disconnected):
            await ask(client, base)
        assert len(server.requests) == 2


async def test_silence_ends_an_exchange_before_and_after_its_head(serving: Any) -> None:
    async def stop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.write(CHUNKED + b"3\r\none\r\n")
        await reader.read()

    async with serving(stop, silence=0.05) as (_, client, base):
        number = 0
        with pytest.raises(Silent):
            await ask(client, base)
        number = 1
        response = await ask(client, base)
        assert await response.read_some() == b"one"
        with pytest.raises(Silent):
            await response.read_some()
        assert client.open_connections() == 0


async def test_an_engine_held_back_by_a_slow_reader_is_not_silent(serving: Any) -> None:
    size = 8 * MAX_BUFFERED_BYTES
    async with serving(OK + b"content-length: %d\r\n\r\n" % size + b"x" * size, silence=0.04) as (_, client, base):
        response = await ask(client, base)
        await asyncio.sleep(0.1)  # several times the limit
        parts = [len(await response.read_some())]
        assert MAX_BUFFERED_BYTES < parts[0] < size
        while part := await response.read_some():
            parts.append(len(part))
        assert sum(parts) == size
        assert len(await (await ask(client, base)).read()) == size


async def test_closing_early_or_cancelling_tells_the_engine(serving: Any) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 1:
            writer.write(CHUNKED + b"3\r\none\r\n")
        await reader.read()

    async with serving(begin) as (server, client, base):
        response = await ask(client, base)
        response.close()
        await until(lambda: server.ended == 1)
        with pytest.raises(Disconnected):
            await response.read_some() and await response.read_some()
        task = asyncio.create_task(ask(client, base))
        await until(lambda: len(server.requests) == 2)
        task.cancel()
        await until(lambda: server.ended == 2)
        assert client.open_connections() == 0


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch, serving: Any) -> None:
    monkeypatch.setattr(upstream_pool, "IDLE_SECONDS", 0.01)
    async with serving(HELLO, silence=0.04) as (server, client, base):
        await (await ask(client, base)).read()
        await until(lambda: server.ended == 1)
        assert client.open_connections() == 0


async def test_nobody_listens() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    client = HttpClient(connect_timeout=30.0, silence_timeout=30.0)
    with pytest.raises(ConnectFailed, match="connection refused"):
        await ask(client, URL(f"http://127.0.0.1:{port}"))
    with pytest.raises(ConnectFailed, match="does not resolve"):
        await ask(client, URL("http://no-such-host.invalid"))
    await client.close()


@pytest.mark.parametrize(
    ("path", "headers"), [("/", {"a": "b\r\nc: d"}), ("/", {"a\n": "b"}), ("/ HTTP/1.1\r\nx: y", {}), ("/a b", {})]
)
def test_no_header_can_be_smuggled_in(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="line break"):
        request_head("POST", path, "host", headers, body_length=0)
