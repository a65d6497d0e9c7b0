"""The blocks of a client that disconnects are freed, as /metrics shows."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

BOUND_SECONDS = 1.0


def gauge(url: str, name: str) -> float:
    match = re.search(rf"^{name}{{.*}} (\S+)$", httpx2.get(f"{url}/metrics").text, re.MULTILINE)
    assert match is not None
    return float(match.group(1))


def until(condition: Callable[[], bool], within: float) -> float:
    """Wait, and return the seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, "it did not happen in time"
    return time.monotonic() - start


def send(server: Any, **fields: Any) -> socket.socket:
    """Open a raw connection with a request that would run for a very long time."""
    body = json.dumps({"prompt": "import os", "max_tokens": 2000, "ignore_eos": True, **fields}).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + body)
    return connection


@pytest.fixture
def slow_server(start_server: Callable[..., Any]) -> Any:
    """Serve with steps so slow that no request of these tests ends by itself."""
    server = start_server(num_gpu_blocks_override=512, max_num_seqs=1)
    step = server.engine.step

    def slow_step() -> Any:
        time.sleep(0.005)
        return step()

    server.engine.step = slow_step
    return server


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_aborts_within_a_second(slow_server: Any, stream: bool) -> None:
    url = slow_server.url
    connection = send(slow_server, stream=stream)
    until(lambda: gauge(url, "vllm:num_requests_running") == 1, within=10)
    assert gauge(url, "vllm:kv_cache_usage_perc") > 0
    connection.close()
    until(lambda: gauge(url, "vllm:num_requests_running") == 0, within=BOUND_SECONDS)
    assert gauge(url, "vllm:kv_cache_usage_perc") == 0
    aborted = 'vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"} 1.0'
    assert aborted in httpx2.get(f"{url}/metrics").text


def test_hanging_up_while_waiting_leaves_the_queue(slow_server: Any) -> None:
    url = slow_server.url
    running = send(slow_server, stream=True)
    until(lambda: gauge(url, "vllm:num_requests_running") == 1, within=10)
    waiting = send(slow_server, stream=True)
    until(lambda: gauge(url, "vllm:num_requests_waiting") == 1, within=10)
    waiting.close()
    until(lambda: gauge(url, "vllm:num_requests_waiting") == 0, within=BOUND_SECONDS)
    assert gauge(url, "vllm:num_requests_running") == 1
    running.close()
    until(lambda: gauge(url, "vllm:num_requests_running") == 0, within=BOUND_SECONDS)
