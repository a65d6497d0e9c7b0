"""No request, served or refused, stalls another stream; a client measures the pauses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_engine.checkpoint.tokenizer import Tokenizer
from llm_engine.request.check import RequestCheck
from llm_engine.server.reading.intake import SMALL_BODY_BYTES, ReaderProcess
from llm_engine.server.reading.reader import Reader
from llm_engine.testing.hostile import Stream, hostile_requests, send, steady_stream

BOUND_SECONDS = 0.05
"""On a quiet machine."""
MARGIN = 4
"""Limit on a busy machine, whose own pauses are subtracted as well; a real stall takes seconds."""
ATTEMPTS = 4

SERVED = {
    "a thousand prompts",
    "128 answers to a long prompt",
    "brackets",
    "a chat of 250 messages",
    "biases of every token",
    "long stop strings",
    "128 bad words",
    "an expression with many states",
    "log-probabilities of a long prompt",
    "an echo with log-probabilities",
    "a text to tokenize",
    "tokens to detokenize",
}
EITHER = {"a schema of 1,500 properties", "an ambiguous grammar", "an expression of a million letters"}
"""Requests that are served until the grammar becomes too complex."""
COMPUTED = {"128 answers to a long prompt", "a thousand prompts"}
"""Requests whose only cost is large steps, within --max-num-seqs and --max-num-batched-tokens."""
REQUESTS = hostile_requests()


PROMPT = {"prompt": [5, 6, 7], "max_tokens": 4}
CHAT_PROMPT = {"messages": [{"role": "user", "content": "add"}], "max_tokens": 4}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
FIRST_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", PROMPT),
    ("/v1/completions", {**PROMPT, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {**PROMPT, "temperature": 1, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 1, "n": 2}),
    ("/v1/completions", {**PROMPT, "repetition_penalty": 1.1, "frequency_penalty": 1, "presence_penalty": 1}),
    ("/v1/completions", {**PROMPT, "logprobs": 2, "prompt_logprobs": 2, "echo": True, "min_tokens": 2}),
    ("/v1/completions", {**PROMPT, "logit_bias": {"5": 1}, "bad_words": ["a"], "stop": ["b"]}),
    ("/v1/completions", {**PROMPT, "allowed_token_ids": [5, 6]}),
    ("/v1/chat/completions", {**CHAT_PROMPT, "stream": True, "logprobs": True, "top_logprobs": 2}),
    ("/v1/chat/completions", {**CHAT_PROMPT, "tools": [TOOL], "tool_choice": "none"}),
    ("/v1/chat/completions", {**CHAT_PROMPT, "max_tokens": 200, "response_format": {"type": "json_object"}}),
    ("/v1/chat/completions", {**CHAT_PROMPT, "structured_outputs": {"choice": ["a", "b"]}}),
    ("/v1/chat/completions", {**CHAT_PROMPT, "structured_outputs": {"regex": "[ab]{2}"}}),
    ("/tokenize", {"prompt": "a b"}),
    ("/detokenize", {"tokens": [5, 6]}),
]
"""A request of each kind."""


@dataclass
class Beside:
    url: str
    stream: Stream


@pytest.fixture(scope="module")
def beside(models: Path) -> Iterator[Beside]:
    """A server in a separate process, and a stream that it serves meanwhile."""
    command = [sys.executable, "-m", "llm_engine", "serve", str(models / "zoo" / "llama"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = re.search(r"http://\S+", process.stderr.readline())
            assert url is not None
            with steady_stream(url[0]) as stream:
                until(lambda: len(stream.times) > 20)
                send(url[0], "/tokenize", json.dumps({"prompt": "a " * SMALL_BODY_BYTES}).encode())
                yield Beside(url[0], stream)
        finally:
            process.kill()


def until(condition: Callable[[], bool], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_does_not_hold_up_the_stream_next_to_it(beside: Beside, name: str) -> None:
    path, body = REQUESTS[name]
    bound = BOUND_SECONDS * MARGIN * (3 if name in COMPUTED else 1)
    gaps = []
    for _ in range(ATTEMPTS):
        begin = time.monotonic()
        status, answer = send(beside.url, path, body)
        end = time.monotonic()
        assert status in ((200, 400) if name in EITHER else (200,) if name in SERVED else (400,)), answer[:500]
        assert status == 200 or json.loads(answer)["error"]["message"]
        until(lambda since=end: time.monotonic() - since > 0.2)  # type: ignore[misc]
        gaps.append(beside.stream.worst_gap(begin, end) - beside.stream.worst_gap(end, time.monotonic()))
        if gaps[-1] < bound:
            return
    pytest.fail(f"the stream paused {min(gaps):.3f} s longer than without the request; {bound} are allowed")


def test_no_request_waits_for_an_import(models: Path, tmp_path: Path) -> None:
    """Check that requests import no module: an import delays every stream."""
    log = tmp_path / "log"
    command = [sys.executable, "-X", "importtime", "-m", "llm_engine", "serve"]

    def imports() -> list[str]:
        return [line.split("|")[-1].strip() for line in log.read_text().splitlines() if line.startswith("import time:")]

    with (
        log.open("w") as output,
        subprocess.Popen([*command, str(models / "zoo" / "llama"), "--port", "0"], stderr=output) as process,
    ):
        try:
            until(lambda: "serving" in log.read_text())
            url = re.search(r"http://\S+", log.read_text())
            assert url is not None
            send(url[0], "/tokenize", json.dumps({"prompt": "a " * SMALL_BODY_BYTES}).encode())  # the reader is running
            before = imports()
            for path, body in FIRST_REQUESTS:
                status, answer = send(url[0], path, json.dumps(body).encode())
                assert status == 200, answer[:500]
            assert "torch" in before
            assert imports()[len(before) :] == []
        finally:
            process.kill()


@pytest.fixture
def reader(models: Path) -> Iterator[ReaderProcess]:
    folder = models / "zoo" / "llama"
    process = ReaderProcess(Reader(Tokenizer(folder), RequestCheck(4096, 2048, 20), "tiny"), folder)
    try:
        yield process
    finally:
        process.close()


def test_a_reader_that_is_killed_is_started_again(reader: ReaderProcess) -> None:
    body = json.dumps({"prompt": "import os"}).encode()
    first = reader.call("tokenize", body)
    assert reader._process is not None
    assert reader._process.pid is not None
    os.kill(reader._process.pid, signal.SIGKILL)
    reader._process.join()
    assert reader.call("tokenize", body) == first


def test_a_reader_ends_with_the_process_that_started_it(models: Path) -> None:
    program = """
import sys
from pathlib import Path
from llm_engine.checkpoint.tokenizer import Tokenizer
from llm_engine.request.check import RequestCheck
from llm_engine.server.reading.intake import ReaderProcess
from llm_engine.server.reading.reader import Reader

folder = Path(sys.argv[1])
process = ReaderProcess(Reader(Tokenizer(folder), RequestCheck(4096, 2048, 20), "tiny"), folder)
process.call("tokenize", b'{"prompt": "a"}')
print(process._process.pid, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(models / "zoo" / "llama")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()

    def is_gone() -> bool:
        try:
            return " Z " in Path(f"/proc/{child}/stat").read_text() if Path("/proc").is_dir() else False
        except FileNotFoundError:
            return True

    until(is_gone)
