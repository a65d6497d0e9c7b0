"""Wrong input, at the engine's edge and at the gateway's: OpenAI's error object each time, and service goes on."""

from __future__ import annotations

from typing import Any

import pytest
from support import Stack, post

GOOD: dict[str, Any] = {"model": "main", "prompt": "import os", "max_tokens": 2}
CASES: list[tuple[str, bytes | dict[str, Any], int]] = [
    ("unknown model", {**GOOD, "model": "nobody"}, 404),
    ("empty prompt", {**GOOD, "prompt": ""}, 400),
    ("no prompt", {"model": "main"}, 400),
    ("prompt longer than the context", {**GOOD, "prompt": "x = 1\n" * 5000}, 400),
    ("negative max_tokens", {**GOOD, "max_tokens": -1}, 400),
    ("max_tokens of the wrong type", {**GOOD, "max_tokens": "many"}, 400),
    ("temperature out of range", {**GOOD, "temperature": 9}, 400),
    ("malformed JSON", b'{"model": "main", "prompt": ', 400),
    ("JSON that is no object", b"[1, 2]", 400),
    ("not UTF-8", b"\xff\xfe", 400),
    ("11 MB", b'{"model": "main", "prompt": "' + b"x" * 11_000_000 + b'"}', 413),
    ("unknown field", {**GOOD, "frobnicate": True}, 200),
]


@pytest.mark.parametrize("edge", ["engine", "gateway"])
def test_wrong_input_gets_an_error_object_and_service_goes_on(edge: str, shared_stack: Stack) -> None:
    url = shared_stack.url(edge)
    for name, body, expected in CASES:
        status, answer = post(url, body)
        assert status == expected, f"{name}: {status} {answer}"
        if expected != 200:
            error = answer["error"]
            assert error["message"], name
            assert {"message", "type", "param", "code"} <= error.keys(), name
        assert post(url, GOOD)[0] == 200, f"after {name}"
