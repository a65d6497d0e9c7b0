"""Answers to odd requests, byte by byte: always an OpenAI error object, and 100 only when it is due."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from dataclasses import dataclass
from typing import Any

import pytest

from llm_contract.testing import Gate, ScriptedEngine
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway

COMPLETIONS = "/v1/completions"
OK = b'{"prompt":"x","max_tokens":1}'
LIMIT = 2048
GUARDED = {"tenants": [{"name": "t", "keys": [key_hash("k")]}], "require_keys": True}


def post(body: bytes, *fields: str, path: str = COMPLETIONS, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {size}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def bare(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, "host: x", *fields]).encode() + b"\r\n\r\n"


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, url: str) -> Connection:
        host, port = url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = raw.decode("latin-1").strip().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split()[1]), fields

    async def answer(self) -> tuple[list[int], dict[str, str], bytes]:
        """Return the statuses of all responses, interim ones included, and the headers and body of the final one."""
        statuses = []
        while True:
            status, fields = await self.head()
            statuses.append(status)
            if status >= 200:
                break
        if "chunked" in fields.get("transfer-encoding", ""):
            return statuses, fields, await asyncio.wait_for(self.reader.readuntil(b"0\r\n\r\n"), 10)
        return statuses, fields, await self.reader.readexactly(int(fields.get("content-length", 0)))


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    status: int
    code: str
    guarded: bool = False


CHUNKED = bare("POST /v1/completions HTTP/1.1", "transfer-encoding: chunked")

CASES = [
    Case("no path", bare("GET /nowhere HTTP/1.1"), 404, "not_found"),
    Case("wrong method", bare("PUT /health HTTP/1.1"), 405, "method_not_allowed"),
    Case("OPTIONS", bare("OPTIONS /v1/completions HTTP/1.1"), 405, "method_not_allowed"),
    Case("OPTIONS of all", bare("OPTIONS * HTTP/1.1"), 404, "not_found"),
    Case("CONNECT", bare("CONNECT elsewhere:443 HTTP/1.1"), 404, "not_found"),
    Case("TRACE", bare("TRACE /health HTTP/1.1"), 405, "method_not_allowed"),
    Case("unknown method", bare("FOO /health HTTP/1.1"), 400, "invalid_request"),
    Case("not HTTP", b"nonsense\r\n\r\n", 400, "invalid_request"),
    Case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
    Case(
        "a broken chunk",
        bare("POST /v1/completions HTTP/1.1", "transfer-encoding: chunked") + b"zz\r\n",
        400,
        "invalid_request",
    ),
    Case("an unknown expectation", post(OK, "expect: nonsense"), 417, "expectation_failed"),
    Case("no gzip", post(b"no gzip", "content-encoding: gzip"), 400, "invalid_request"),
    Case("no gzip, no key", post(b"no gzip", "content-encoding: gzip"), 401, "invalid_api_key", guarded=True),
    Case("no gzip, no path", post(b"no gzip", "content-encoding: gzip", path="/nowhere"), 404, "not_found"),
    Case("no deflate", post(b"\xff\xff", "content-encoding: deflate"), 400, "invalid_request"),
    Case(
        "too large when inflated", post(gzip.compress(b"a" * 100_000), "content-encoding: gzip"), 413, "body_too_large"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_every_refusal_is_an_error_object_and_no_traceback(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    settings: dict[str, Any] = GUARDED if case.guarded else {}
    async with ScriptedEngine() as engine, RunningGateway(engine.url, max_body_bytes=LIMIT, **settings) as gateway:
        connection = await Connection.to(gateway.url)
        connection.writer.write(case.sent)
        statuses, fields, body = await connection.answer()
        connection.writer.close()
    assert statuses == [case.status]
    assert fields["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == case.code
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("sent", "guarded", "status"),
    [
        (post(b"", "expect: 100-continue", length=5000), False, 413),
        (post(b"", "Expect: 100-Continue", length=5000), True, 401),
        (post(b"", "expect: 100-continue", length=len(OK)), True, 401),
        (post(b"", "expect: 100-continue", length=len(OK), path="/nowhere"), False, 404),
        (post(b"", "expect: 100-continue", length=len(OK), path="/health"), False, 405),
    ],
)
async def test_a_request_that_is_refused_is_not_asked_for_its_body(sent: bytes, guarded: bool, status: int) -> None:
    settings: dict[str, Any] = GUARDED if guarded else {}
    async with ScriptedEngine() as engine, RunningGateway(engine.url, max_body_bytes=LIMIT, **settings) as gateway:
        connection = await Connection.to(gateway.url)
        connection.writer.write(sent)
        statuses, fields, _ = await connection.answer()
        assert statuses == [status]
        assert fields["connection"] == "close"
        connection.writer.close()


@pytest.mark.parametrize("path", [COMPLETIONS, "/tokenize"])
async def test_a_request_that_is_wanted_is_asked_for_its_body_once(path: str) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        connection = await Connection.to(gateway.url)
        for _ in range(2):
            connection.writer.write(post(b"", "expect: 100-continue", length=len(OK), path=path))
            assert (await connection.head())[0] == 100
            connection.writer.write(OK)
            assert (await connection.answer())[0] == [200]
        connection.writer.close()


# --- clients that end their side after the request ---


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("requests", [1, 3])
async def test_a_client_that_ends_its_side_gets_every_answer_and_then_the_end(stream: bool, requests: int) -> None:
    body = json.dumps({"prompt": "x", "max_tokens": 3, "stream": stream}).encode()
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(body) * requests)
        connection.writer.write_eof()
        for _ in range(requests):
            statuses, _, answer = await connection.answer()
            assert statuses[-1] == 200
            assert b"w2" in answer
        assert await asyncio.wait_for(connection.reader.read(), 10) == b""
        connection.writer.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_client_that_ends_its_side_may_wait_long_for_its_answer(stream: bool, chunks: int) -> None:
    """Park the request before the first byte, or in mid-stream, for several checks of the socket."""
    body = json.dumps({"prompt": "x", "max_tokens": 3, "stream": stream}).encode()
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        gate: Gate = engine.chunk_gate if stream else engine.headers_gate
        gate.close()
        gate.release(chunks if stream else 0)
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(body))
        await engine.until(lambda: gate.parked == 1)
        connection.writer.write_eof()
        with pytest.raises(TimeoutError):
            await engine.until(lambda: bool(engine.aborted), timeout=0.15)
        gate.open()
        statuses, _, answer = await connection.answer()
        assert set(statuses[:-1]) <= {100}
        assert statuses[-1] == 200
        assert b"w2" in answer
        connection.writer.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_client_that_closes_is_gone_at_once(stream: bool, chunks: int) -> None:
    body = json.dumps({"prompt": "x", "max_tokens": 3, "stream": stream}).encode()
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        gate: Gate = engine.chunk_gate if stream else engine.headers_gate
        gate.close()
        gate.release(chunks if stream else 0)
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(body))
        if stream and chunks:
            await connection.reader.readuntil(b"w0")
        await engine.until(lambda: gate.parked == 1)
        connection.writer.close()
        await engine.until(lambda: len(engine.aborted) == 1)
        await gateway.until(lambda running: running.in_flight == 0)
        gate.open()


async def test_a_body_that_is_cut_off_by_the_end_frees_the_connection() -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(OK, length=1000))
        connection.writer.write_eof()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await connection.answer()
        assert engine.received == []


# --- what an engine compresses ---


def compressed(kind: str, body: bytes) -> bytes:
    return {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[kind](body)


@pytest.mark.parametrize("kind", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_that_an_engine_compresses_unasked_is_decoded(kind: str, chunked: bool) -> None:
    answer = b'{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    coded = compressed(kind, answer)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(coded), coded) if chunked else coded
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(coded)}"
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {kind}\r\n{length}\r\n\r\n".encode()
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.raw_answer = (head + framed,)
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(OK))
        statuses, fields, body = await connection.answer()
        assert (statuses, body) == ([200], answer)
        assert "content-encoding" not in fields
        assert engine.received[0].headers["accept-encoding"] == "identity"
        connection.writer.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [("gzip", b"no gzip"), ("gzip", gzip.compress(b"x" * 100)[:-9]), ("br", b"x"), ("deflate", b"\xff\xff")],
)
async def test_an_answer_that_is_not_encoded_as_it_says_is_the_engines_failure(kind: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        engine.raw_answer = (head + body,)
        connection = await Connection.to(gateway.url)
        connection.writer.write(post(OK))
        statuses, _, answer = await connection.answer()
        assert statuses == [502]
        assert json.loads(answer)["error"]["code"] == "engine_failed"
        connection.writer.close()
