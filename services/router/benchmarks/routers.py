"""The routers that the benchmarks compare, as processes in front of the engines at `urls`, each balancing by p2c.

edge          ours, without Ray: llm-router edge
vllm-router   vLLM's router, in Rust
smg           the Shepherd Model Gateway, in Rust
ray serve     Serve's default proxy, an ingress deployment and a handle to two replicas (serve_default.py)
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from llm_measure.peers import Peer
from llm_measure.processes import Server, command, free_port, python

PEERS = Peer("routers")
SERVE_DEFAULT = Path(__file__).resolve().parent / "serve_default.py"
FIRST_ANSWER_SECONDS = 90.0
ASKED = b'{"model":"main","messages":[{"role":"user","content":"x"}],"max_tokens":1}'


def edge(urls: Sequence[str], *arguments: str) -> AbstractContextManager[Server]:
    engines = (part for url in urls for part in ("--engine", url))
    return python("-m", "llm_router", "edge", *engines, "--port", "0", "--admin-port", "0", *arguments)


def vllm_router(urls: Sequence[str]) -> AbstractContextManager[Server]:
    return _peer((PEERS.program("vllm-router"),), urls)


def smg(urls: Sequence[str]) -> AbstractContextManager[Server]:
    return _peer((PEERS.program("smg"), "launch"), urls)


@contextmanager
def serve_default(engine_arguments: Sequence[str]) -> Iterator[Server]:
    """Run Serve's default data plane. Its two engines live inside the replicas, which spares it a hop."""
    with python(str(SERVE_DEFAULT), *engine_arguments) as server:
        wait_for_answer(server.url)
        yield server


@contextmanager
def _peer(program: Sequence[str], urls: Sequence[str]) -> Iterator[Server]:
    PEERS.install()
    port = free_port()
    ports = ("--port", str(port), "--prometheus-port", str(free_port()))
    argv = (*program, "--host", "127.0.0.1", *ports, "--policy", "power_of_two", "--worker-urls", *urls)
    with command(argv, f"http://127.0.0.1:{port}", "/health", {}) as server:
        wait_for_answer(server.url)
        yield server


def wait_for_answer(url: str) -> None:
    """Return when a chat gets its answer: a router can be healthy before it knows its engines."""
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    request = urllib.request.Request(f"{url}/v1/chat/completions", ASKED, {"content-type": "application/json"})
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=10.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer a chat within {FIRST_ANSWER_SECONDS:g} s")
