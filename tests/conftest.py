"""The real stack, as processes: engines on a small shipped model, and the gateway in front of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support import ENVIRONMENT, MODEL, READY_TIMEOUT, any_port

from llm_lab import paths, service
from llm_lab.ports import HOST
from llm_lab.service import Running, Service

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a program and stop it after the test: start(name, port, "-m", "llm_engine", …)."""
    monkeypatch.setattr(paths, "LOGS", tmp_path)
    started: list[Running] = []

    def start_one(name: str, port: int, *arguments: str) -> Running:
        argv = (sys.executable, *arguments)
        started.append(service.start(Service(name, argv, f"http://{HOST}:{port}", env=ENVIRONMENT)))
        return started[-1]

    yield start_one
    service.stop(reversed(started))


@pytest.fixture
def start_engine(start: Start) -> Callable[..., Running]:
    """Start an engine that serves the small model as `main`; it is not yet ready."""

    def start_one(name: str, port: int, *flags: str) -> Running:
        return start(
            *(name, port, "-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main"),
            *("--host", HOST, "--port", str(port), "--num-threads", "1", *flags),
        )

    return start_one


@pytest.fixture
def start_gateway(start: Start, tmp_path: Path) -> Callable[..., Running]:
    """Start a gateway over engine URLs; keyword arguments are its settings. It is not yet ready."""

    def start_one(*engine_urls: str, max_in_flight: int = 8, **settings: object) -> Running:
        port = any_port()
        engines = [{"url": url, "max_in_flight": max_in_flight} for url in engine_urls]
        config = tmp_path / "gateway.yaml"
        config.write_text(yaml.safe_dump({"host": HOST, "port": port, "engines": engines, **settings}))
        return start("gateway", port, "-m", "llm_gateway", "--config", str(config))

    return start_one


@pytest.fixture
def engine(start_engine: Callable[..., Running]) -> Running:
    running = start_engine("engine-0", any_port())
    service.wait_until_ready([running], READY_TIMEOUT)
    return running


@pytest.fixture
def gateway(engine: Running, start_gateway: Callable[..., Running]) -> Running:
    """Start a gateway in front of `engine`."""
    running = start_gateway(engine.url, probe_interval=0.2)
    service.wait_until_ready([running], READY_TIMEOUT)
    return running
