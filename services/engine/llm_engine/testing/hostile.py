"""Hostile requests, which would stall a naive server, and a steady stream that shows whether they do.

Some are served and some are refused; in both cases other requests must not be delayed. The bodies suit a model with a
context of 2,048 tokens and a vocabulary of 4,096.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

MANY_BYTES = 8 * 2**20 - 1000
"""Almost the largest body that the server accepts."""
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


def completion(**fields: Any) -> bytes:
    return json.dumps({"prompt": [5, 6, 7], "max_tokens": 4, **fields}).encode()


def repeated(before: bytes, item: bytes, after: bytes, size: int = MANY_BYTES) -> bytes:
    """Return a body of about `size` bytes that repeats `item` as often as fits."""
    return before + b",".join([item] * ((size - len(before) - len(after)) // (len(item) + 1))) + after


def properties(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"property_{index}": {"type": "string"} for index in range(count)}}


def long_prompt(**fields: Any) -> bytes:
    return completion(prompt=[5 + index % 4000 for index in range(1900)], **fields)


def hostile_requests() -> dict[str, tuple[str, bytes]]:
    """Return name -> (path, body)."""
    return {**large_requests(), **costly_requests()}


def large_requests() -> dict[str, tuple[str, bytes]]:
    """Return bodies that take long to read."""
    messages = b'{"max_tokens":2,"messages":['
    return {
        "a text of 8 MB": (COMPLETIONS, completion(prompt="word " * (MANY_BYTES // 5))),
        "a text of 60 kB": (COMPLETIONS, completion(prompt="some words, " * 5000)),
        "a text of 60 kB without a break": (COMPLETIONS, completion(prompt="a" * 60_000)),
        "a million token ids": (COMPLETIONS, repeated(b'{"prompt":[', b"4000", b"]}")),
        "a million prompts": (COMPLETIONS, repeated(b'{"prompt":[', b"[5]", b"]}")),
        "a thousand prompts": (COMPLETIONS, repeated(b'{"max_tokens":1,"prompt":[', b"[5,6]", b"]}", 6000)),
        "128 answers to a long prompt": (COMPLETIONS, long_prompt(n=128, max_tokens=1)),
        "brackets": (COMPLETIONS, repeated(b'{"max_tokens":2,"prompt":[5],"other":[', b"[]", b"]}")),
        "nested brackets": (COMPLETIONS, b"[" * (MANY_BYTES // 2) + b"]" * (MANY_BYTES // 2)),
        "a chat of one long message": (
            CHAT,
            repeated(messages, b'{"role":"user","content":"' + b"a" * 8_000_000 + b'"}', b"]}"),
        ),
        "a chat of 200,000 messages": (CHAT, repeated(messages, b'{"role":"user","content":"a"}', b"]}")),
        "a chat of 250 messages": (CHAT, repeated(messages, b'{"role":"user","content":"a"}', b"]}", 7500)),
    }


def costly_requests() -> dict[str, tuple[str, bytes]]:
    """Return requests that take long to prepare, to sample or to answer."""
    return {
        "biases of every token": (COMPLETIONS, completion(logit_bias={str(token): 0.5 for token in range(4096)})),
        "biases of no token": (COMPLETIONS, completion(logit_bias={str(token): 1 for token in range(500_000)})),
        "allowed tokens, repeated": (COMPLETIONS, completion(allowed_token_ids=list(range(4096)) * 300)),
        "many stop strings": (COMPLETIONS, repeated(b'{"prompt":"a","stop":[', b'"a"', b"]}")),
        "long stop strings": (
            COMPLETIONS,
            completion(stop=["a" * 1_000_000] * 4, allowed_token_ids=[69], max_tokens=200),
        ),
        "many bad words": (COMPLETIONS, completion(bad_words=[f"word {index}" for index in range(100_000)])),
        "128 bad words": (COMPLETIONS, completion(bad_words=[f"word {index}" for index in range(128)], max_tokens=30)),
        "a schema of 5,000 properties": (COMPLETIONS, completion(structured_outputs={"json": properties(5000)})),
        "a schema of 1,500 properties": (
            COMPLETIONS,
            completion(structured_outputs={"json": properties(1500)}, max_tokens=30),
        ),
        "an ambiguous grammar": (
            COMPLETIONS,
            completion(
                structured_outputs={
                    "grammar": "start: a0\n"
                    + "".join(f'a{i}: a{i + 1} a{i + 1} | "x"\n' for i in range(200))
                    + 'a200: "z"\n'
                },
                max_tokens=30,
            ),
        ),
        "an expression with many states": (
            COMPLETIONS,
            completion(structured_outputs={"regex": "(.*a.{60}b){3}"}, max_tokens=60),
        ),
        "an expression of a million letters": (
            COMPLETIONS,
            completion(structured_outputs={"regex": "a{1000000}"}, max_tokens=60),
        ),
        "log-probabilities of a long prompt": (COMPLETIONS, long_prompt(prompt_logprobs=20)),
        "an echo with log-probabilities": (COMPLETIONS, long_prompt(echo=True, logprobs=20, return_token_ids=True)),
        "a text to tokenize": ("/tokenize", json.dumps({"prompt": "some words, " * 170_000}).encode()),
        "tokens to detokenize": ("/detokenize", repeated(b'{"tokens":[', b"4000", b"]}")),
    }


def send(url: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a request and return (status, body) of the answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@dataclass
class Stream:
    """The arrival times of the events of an endless stream."""

    times: list[float] = field(default_factory=list)

    def worst_gap(self, begin: float, end: float) -> float:
        """Return the longest pause between `begin` and `end` in seconds; both are times on the monotonic clock."""
        times = [begin, *(at for at in list(self.times) if begin < at < end), end]
        return max(after - before for before, after in pairwise(times))


@contextmanager
def steady_stream(url: str) -> Iterator[Stream]:
    """Run a client that streams completions without a pause, in a thread."""
    stream, stop = Stream(), threading.Event()
    address = urlsplit(url)

    def read_streams() -> None:
        body = completion(max_tokens=2000, ignore_eos=True, stream=True, temperature=0)
        while not stop.is_set():
            connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
            connection.request("POST", COMPLETIONS, body)
            for line in connection.getresponse():
                if line.startswith(b"data"):
                    stream.times.append(time.monotonic())
                if stop.is_set():
                    break
            connection.close()

    thread = threading.Thread(target=read_streams, daemon=True)
    thread.start()
    try:
        yield stream
    finally:
        stop.set()
        thread.join(30)
