"""Fixtures of the engine's tests: the shipped models, and engines and servers on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn

from llm_engine import Engine, EngineConfig
from llm_engine.metrics import EngineMetrics
from llm_engine.server.app import build_app
from llm_engine.settings import ServerConfig

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)

MODEL_NAME = "tiny"


def find_models() -> Path:
    """The repository's `models`, seen from this file or, in a sandbox, from the working folder."""
    for start in (Path(__file__).resolve(), Path.cwd() / "x"):
        for folder in start.parents:
            if (folder / "models" / "zoo").is_dir():
                return folder / "models"
    raise FileNotFoundError("models/zoo is not above the tests")


class Server:
    """The real application on uvicorn, in a thread, on a loopback port."""

    def __init__(self, engine: Engine, metrics: EngineMetrics, options: ServerConfig | None = None) -> None:
        self.engine = engine
        self.app = build_app(engine, metrics, MODEL_NAME, options)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2)
        )
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)

    def start(self) -> None:
        startup = self._uvicorn.startup

        async def announce(*args: Any, **kwargs: Any) -> None:
            await startup(*args, **kwargs)
            self._started.set()

        self._uvicorn.startup = announce  # type: ignore[method-assign]
        self._thread.start()
        assert self._started.wait(20), "the server did not start"

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    @property
    def port(self) -> int:
        port: int = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_server(*, options: ServerConfig | None = None, **settings: Any) -> Iterator[Server]:
    metrics = EngineMetrics(MODEL_NAME)
    config = EngineConfig(str(find_models() / "zoo" / "llama"), check_invariants=True, **settings)
    server = Server(Engine(config, [metrics]), metrics, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def models() -> Path:
    return find_models()


@pytest.fixture(scope="session")
def heldout(models: Path) -> str:
    """A text that no shipped model was trained on."""
    return (models / "eval" / "heldout.txt").read_text(encoding="utf-8").removeprefix("<|endoftext|>")


@pytest.fixture
def make_engine(models: Path) -> Callable[..., Engine]:
    """make_engine(**settings): a float32 engine on the zoo's llama that checks its invariants after every step."""

    def make(**settings: Any) -> Engine:
        settings = {"num_gpu_blocks_override": 256, "check_invariants": True, **settings}
        return Engine(EngineConfig(str(models / "zoo" / "llama"), **settings))

    return make


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(num_gpu_blocks_override=512) as running:
        yield running


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """start_server(**settings): a new server."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_server(**settings))
