"""A run against a server that misbehaves in every field it sends: it ends in a report, and keeps what was measured."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

import llm_bench.__main__  # noqa: F401  # what the process below runs
from llm_bench.results.result import read_result
from llm_contract import sse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TEXT = sse.encode({"choices": [{"index": 0, "text": "x"}]})
ERROR = sse.encode({"error": {"message": "engine died"}})


def usage(**fields: object) -> bytes:
    return sse.encode({"choices": [], "usage": fields})


GOOD = HEAD + TEXT * 3 + usage(prompt_tokens=9, completion_tokens=3) + sse.DONE

ANSWERS: dict[str, tuple[bytes, str, int]] = {
    # Name: bytes, outcome, output tokens.
    "good": (GOOD, "ok", 3),
    "null-count": (HEAD + TEXT * 3 + usage(prompt_tokens=None, completion_tokens=None) + sse.DONE, "ok", 3),
    "text-count": (HEAD + TEXT * 3 + usage(prompt_tokens="9", completion_tokens="3") + sse.DONE, "ok", 3),
    "huge-count": (HEAD + TEXT * 3 + usage(prompt_tokens=2**63, completion_tokens=2**64 - 1) + sse.DONE, "ok", 3),
    "float-count": (HEAD + TEXT * 3 + usage(prompt_tokens=1e300, completion_tokens=-1.5) + sse.DONE, "ok", 3),
    "list-usage": (HEAD + TEXT * 3 + sse.encode({"choices": [], "usage": [1]}) + sse.DONE, "ok", 3),
    "odd-choices": (HEAD + TEXT * 3 + sse.encode({"choices": {"0": 1}, "usage": 7}) + sse.DONE, "ok", 3),
    "odd-delta": (HEAD + TEXT * 3 + sse.encode({"choices": [{"delta": 7}, None, 3]}) + sse.DONE, "ok", 3),
    "null-error": (HEAD + sse.encode({"choices": [{"text": "x"}], "error": None}) + sse.DONE, "ok", 1),
    "done-at-eof": (HEAD + TEXT * 3 + b"data: [DONE]", "ok", 3),
    "type-in-capitals": (GOOD.replace(b"text/event-stream", b"Text/Event-Stream;charset=X"), "ok", 3),
    "named-error": (HEAD + TEXT * 3 + b"event: error\ndata: engine died\n\n" + sse.DONE, "stream_error", 3),
    "error-then-done": (HEAD + TEXT * 3 + ERROR + sse.DONE, "stream_error", 3),
    "old-error": (HEAD + TEXT + sse.encode({"object": "error", "message": 7}) + sse.DONE, "stream_error", 1),
    "no-done": (HEAD + TEXT * 3, "truncated", 3),
    "no-text": (HEAD + sse.encode({"choices": [{"text": None}]}) + sse.DONE, "no_tokens", 0),
    "not-json": (HEAD + TEXT + b"data: {\n\n" + sse.DONE, "stream_error", 1),
    "not-utf8": (HEAD + TEXT + b"data: \xff\xfe\n\n" + sse.DONE, "stream_error", 1),
    "deep": (HEAD + TEXT + b"data: " + b"[" * 5000 + b"\n\n" + sse.DONE, "stream_error", 1),
    "empty-body": (HEAD, "truncated", 0),
    "html": (HEAD.replace(b"text/event-stream", b"text/html") + b"<p>", "not_sse", 0),
    "no-type": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "not_sse", 0),
    "upgrade": (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "protocol", 0),
    "not-http": (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol", 0),
    "nothing": (b"", "reset", 0),
    "odd-error": (b'HTTP/1.1 500 X\r\nContent-Length: 18\r\n\r\n{"error": [1, [2]]}', "http_500", 0),
    "formula": (b'HTTP/1.1 429 X\r\nContent-Length: 34\r\n\r\n{"error": {"message": "=cmd|A1()"}}', "rejected", 0),
    "long-error": (b"HTTP/1.1 418 X\r\nConnection: close\r\n\r\n" + b"\x1b[31m\x00" * 20000, "http_418", 0),
}
METRICS = b"""vllm:num_requests_running NaN
vllm:num_requests_waiting 1e999
vllm:gpu_cache_usage_perc abc
vllm:time_to_first_token_seconds_bucket{le="abc"} 4
vllm:time_to_first_token_seconds_bucket{le="nan"} 4
vllm:time_to_first_token_seconds_bucket{le="+Inf"} -7
vllm:generation_tokens_total 1e308
vllm:generation_tokens_total{a="b"} 1e308
"""


@asynccontextmanager
async def hostile_server() -> AsyncIterator[str]:
    """A server that answers by the request's class; requests without one of ANSWERS get the good answer."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        body = await reader.readexactly(length)
        writer.write(_answer(head, body))
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _answer(head: bytes, body: bytes) -> bytes:
    plain = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    if head.startswith(b"GET /v1/models"):
        return plain + b'{"data": [{"id": "m", "max_model_len": "long"}]}'
    if head.startswith(b"GET /metrics"):
        return plain + METRICS
    if head.startswith(b"GET"):
        return b"\xff\xfe"
    name = head.lower().partition(b"x-priority: ")[2].partition(b"\r\n")[0].decode()
    return GOOD if b'"max_tokens":2,' in body else ANSWERS[name][0]


async def test_a_run_keeps_what_was_measured_whatever_the_server_sends(tmp_path: Path) -> None:
    lengths = {"kind": "fixed", "tokens": 9}
    scenario, corpus, out = tmp_path / "scenario.yaml", tmp_path / "corpus.txt", tmp_path / "out"
    corpus.write_text("some words to send\n" * 100)
    kind = {"weight": 1, "prompt_tokens": lengths, "output_tokens": lengths, "slo": {"ttft": 1.0}}
    arrivals = {"kind": "constant", "rate": len(ANSWERS)}
    values = {
        "name": "hostile",
        "duration": 1,
        "timeout": 5,
        "arrivals": arrivals,
        "classes": dict.fromkeys(ANSWERS, kind),
    }
    scenario.write_text(yaml.safe_dump(values, default_flow_style=False))
    async with hostile_server() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "llm_bench", "run", scenario, "--target", url, "--corpus", corpus, "--out", out,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await asyncio.wait_for(process.communicate(), 120)

    assert (process.returncode, errors.count(b"Traceback")) == (0, 0), errors.decode()
    result = read_result(out)
    found = {record.class_name: (record.outcome, record.output_tokens) for record in result.requests}
    assert found == {name: (outcome, tokens) for name, (_, outcome, tokens) in ANSWERS.items()}
    good = sum(outcome == "ok" for _, outcome, _ in ANSWERS.values())
    assert result.summary.classes["all"].completed == good
    assert max(len(record.detail) for record in result.requests) <= 500
