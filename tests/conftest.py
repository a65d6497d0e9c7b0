"""The real stack, as processes: engines on a small shipped model, and the gateway in front of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ENVIRONMENT, MODEL, READY_TIMEOUT, Stack, any_port
from support_traces import TracedStack, receiving

from llm_lab import paths, service
from llm_lab.ports import HOST
from llm_lab.service import Running, Service

Start = Callable[..., Running]


@contextmanager
def starting(logs: Path) -> Iterator[Start]:
    """Yield start(name, port, "-m", "llm_engine", …), and stop in the end what it started. Logs are kept in `logs`."""
    started: list[Running] = []

    def start_one(name: str, port: int, *arguments: str) -> Running:
        argv = (sys.executable, *arguments)
        started.append(service.start(Service(name, argv, f"http://{HOST}:{port}", env=ENVIRONMENT)))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", logs)
        try:
            yield start_one
        finally:
            service.stop(reversed(started))


def run_engine(start: Start, name: str, port: int, *flags: str) -> Running:
    return start(
        *(name, port, "-m", "llm_engine", "serve", str(MODEL), "--served-model-name", "main"),
        *("--host", HOST, "--port", str(port), "--num-threads", "1", *flags),
    )


def run_gateway(
    start: Start, folder: Path, engine_urls: Sequence[str], *, max_in_flight: int = 8, **settings: object
) -> Running:
    port = any_port()
    engines = [{"url": url, "max_in_flight": max_in_flight} for url in engine_urls]
    config = folder / "gateway.yaml"
    config.write_text(yaml.safe_dump({"host": HOST, "port": port, "engines": engines, **settings}))
    return start("gateway", port, "-m", "llm_gateway", "--config", str(config))


def run_stack(start: Start, folder: Path) -> Stack:
    """Run an engine and a gateway in front of it, and wait until both are ready."""
    engine = run_engine(start, "engine-0", any_port())
    service.wait_until_ready([engine], READY_TIMEOUT)
    gateway = run_gateway(start, folder, [engine.url], probe_interval=0.2)
    service.wait_until_ready([gateway], READY_TIMEOUT)
    return Stack(engine, gateway)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start programs, and stop them after the test."""
    with starting(tmp_path) as start_one:
        yield start_one


@pytest.fixture
def start_engine(start: Start) -> Callable[..., Running]:
    """Start an engine that serves the small model as `main`: (name, port, *flags). It is not yet ready."""
    return partial(run_engine, start)


@pytest.fixture
def start_gateway(start: Start, tmp_path: Path) -> Callable[..., Running]:
    """Start a gateway over engine URLs; keyword arguments are its settings. It is not yet ready."""
    return lambda *engine_urls, **settings: run_gateway(start, tmp_path, engine_urls, **settings)


@pytest.fixture
def stack(start: Start, tmp_path: Path) -> Stack:
    """An engine and a gateway for one test, which may kill them."""
    return run_stack(start, tmp_path)


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An engine and a gateway for those tests of a file that leave them as they were."""
    folder = tmp_path_factory.mktemp("stack")
    with starting(folder) as start_one:
        yield run_stack(start_one, folder)


def run_router(start: Start, engine_urls: Sequence[str], *flags: str) -> Running:
    port = any_port()
    engines = [part for url in engine_urls for part in ("--engine", url)]
    return start(
        *("router", port, "-m", "llm_router", "edge", "--port", str(port), "--admin-port", str(any_port())),
        *(*engines, "--policy", "round_robin", *flags),
    )


@contextmanager
def running_traced(folder: Path) -> Iterator[TracedStack]:
    """Run two engines, a router and a gateway that send spans to a receiver and log every request as JSON."""
    logged: dict[str, Any] = {"log_format": "json", "access_log": "all"}
    flags = ("--log-format", "json", "--access-log", "all")
    with receiving() as receiver, starting(folder) as start_one:
        traced = ("--otlp-traces-endpoint", receiver.url, *flags)
        engines = [run_engine(start_one, f"engine-{index}", any_port(), *traced) for index in range(2)]
        service.wait_until_ready(engines)
        urls = [engine.url for engine in engines]
        router = run_router(start_one, urls, "--tracing.otlp-endpoint", receiver.url, *flags)
        service.wait_until_ready([router])
        gateway = run_gateway(start_one, folder, [router.url], tracing={"otlp_endpoint": receiver.url}, **logged)
        service.wait_until_ready([gateway])
        yield TracedStack(receiver, engines, router, gateway)


@pytest.fixture(scope="module")
def traced_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedStack]:
    """A traced stack for those tests of a file that leave it as it was."""
    with running_traced(tmp_path_factory.mktemp("traced")) as made:
        yield made


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[TracedStack]:
    """A traced stack for one test, which may kill its engines."""
    with running_traced(tmp_path) as made:
        yield made


@pytest.fixture
def start_traced_gateway(start: Start, tmp_path: Path, traced_stack: TracedStack) -> Callable[..., Running]:
    """Start a gateway over engine URLs, traced like the stack, and wait for it; keyword arguments are its settings."""

    def run(*engine_urls: str, **settings: Any) -> Running:
        tracing = {"otlp_endpoint": traced_stack.receiver.url}
        made = run_gateway(start, tmp_path, engine_urls, tracing=tracing, log_format="json", **settings)
        service.wait_until_ready([made])
        return made

    return run
