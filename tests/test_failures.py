"""Clients that hang up, and engines that die: alone, together, in the middle of an answer."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from support import READY_TIMEOUT, Stack, any_port, eventually, kill, metric, post

from llm_lab import service
from llm_lab.service import Running

LONG: dict[str, Any] = {"model": "main", "prompt": "import", "max_tokens": 1900, "ignore_eos": True, "temperature": 0}
GENERATED = "vllm:generation_tokens_total"
SHORT: dict[str, Any] = {"model": "main", "prompt": "import", "max_tokens": 2}


@pytest.mark.parametrize("edge", ["engine", "gateway"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_the_engine_within_a_second(edge: str, stream: bool, shared_stack: Stack) -> None:
    url, engine = shared_stack.url(edge), shared_stack.engine.url
    generated = metric(engine, GENERATED)
    body = {**LONG, "stream": stream, "n": 8}  # one answer of 1,900 tokens may be over in half a second
    with httpx2.Client(timeout=httpx2.Timeout(30)) as client:
        request = client.build_request("POST", f"{url}/v1/completions", json=body)
        if stream:
            response = client.send(request, stream=True)
            next(response.iter_bytes())
            response.close()
        else:
            request.extensions["timeout"] = httpx2.Timeout(0.3).as_dict()
            with pytest.raises(httpx2.ReadTimeout):
                client.send(request)
    gone = time.monotonic()
    assert eventually(lambda: metric(engine, "vllm:num_requests_running") == 0, timeout=5)
    assert time.monotonic() - gone < 1.0
    assert metric(engine, "vllm:kv_cache_usage_perc") == 0
    assert metric(engine, GENERATED) - generated < body["n"] * body["max_tokens"]


def test_an_engine_that_dies_is_passed_over_and_comes_back(
    start_engine: Callable[..., Running], start_gateway: Callable[..., Running]
) -> None:
    first, second = (start_engine(f"engine-{index}", any_port()) for index in range(2))
    gateway = start_gateway(first.url, second.url, probe_interval=0.2)
    service.wait_until_ready([first, second, gateway], READY_TIMEOUT)
    assert eventually(lambda: metric(gateway.url, "gateway_engine_up") == 2)
    kill(first)
    assert [post(gateway.url, SHORT)[0] for _ in range(8)] == [200] * 8, "one engine is enough"
    kill(second)
    status, answer = post(gateway.url, SHORT)
    assert status == 503
    assert "engine" in answer["error"]["message"]
    again = start_engine("engine-0b", int(first.url.rsplit(":", 1)[1]))
    service.wait_until_ready([again], READY_TIMEOUT)
    assert eventually(lambda: post(gateway.url, SHORT)[0] == 200)


def test_an_engine_that_dies_in_the_middle_of_a_stream_ends_it_with_an_error_event(stack: Stack) -> None:
    body = json.dumps({**LONG, "stream": True}).encode()
    request = urllib.request.Request(f"{stack.gateway.url}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert json.loads(response.readline().removeprefix(b"data: "))["choices"]
        kill(stack.engine)
        events = [line.removeprefix(b"data: ") for line in response if line.startswith(b"data: ")]
    last = [json.loads(event) for event in events if event.strip() != b"[DONE]"][-1]
    assert last["error"]["code"] == "engine_failed"
