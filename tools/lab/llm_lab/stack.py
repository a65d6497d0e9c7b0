"""Engines, the gateway in front of them, with or without a router in between, and a monitor, on free ports.

The stack is remembered on disk, so that another command can stop it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import yaml

from llm_lab import paths, service
from llm_lab.engines import EngineKind, engine
from llm_lab.models import MAIN, Model
from llm_lab.ports import HOST, free_ports
from llm_lab.service import Running, Service

GatewayPolicy = Literal["fcfs", "priority"]
SCHEDULED_BY: dict[GatewayPolicy, str] = {"fcfs": "fcfs", "priority": "composite"}
"""The gateway's name of each policy: `priority` to it is strict, and lets batch starve."""
GATEWAY_PORT = 8080
ROUTER = "router"
ROUTER_PORT = 8000
MONITOR = "monitor"
MONITOR_PORT = 9600
RUNBOOKS = "http://127.0.0.1:8001/runbooks/{name}.html"
"""Where `./lab docs` serves the pages that alerts link to."""
ENGINE_PORT = 8101
REPLICAS = 2
ROUTED_REPLICAS = 4
"""Engines behind a router."""
MAX_IN_FLIGHT = 8
"""Requests at an engine at a time. Few, so that the order is made in the gateway's queue and not in the engine's."""


def start_engines(
    kind: EngineKind,
    started: list[Running],
    flags: Sequence[Sequence[str]] = (),
    *,
    model: Model = MAIN,
    replicas: int = REPLICAS,
    environment: Mapping[str, str] | None = None,
) -> tuple[Running, ...]:
    """Start the replicas together; they are not yet ready. Each is in `started` as soon as it runs.

    `flags`: one tuple per replica, or none. `environment` is added to that of our engines.
    """
    own_flags = flags or ((),) * replicas
    for index, port in zip(range(replicas), free_ports(ENGINE_PORT), strict=False):
        service.start(engine(kind, index, port, own_flags[index], model=model, environment=environment), started)
    return tuple(started[-replicas:])


def start_router(
    kind: EngineKind, started: list[Running], *, model: Model = MAIN, flags: Sequence[str] = ()
) -> Running:
    """Start a router over ROUTED_REPLICAS engines, not yet ready, and add it to `started`."""
    ports = free_ports(ROUTER_PORT)
    port, admin_port = next(ports), next(ports)
    one = engine(kind, 0, "{port}", flags, model=model)
    words = [word if word == "{port}" else word.replace("{", "{{").replace("}", "}}") for word in one.argv]
    argv = (
        *(str(paths.PYTHON), "-m", "llm_router", "serve", str(model.folder), "--model", model.name),
        *("--replicas", str(ROUTED_REPLICAS), "--max-running", str(MAX_IN_FLIGHT)),
        *("--engine-command", shlex.join(words), "--port", str(port), "--admin-port", str(admin_port)),
    )
    return service.start(Service(ROUTER, argv, f"http://{HOST}:{port}", env=one.env), started)


def start_gateway(backends: Sequence[Running], policy: GatewayPolicy, started: list[Running]) -> Running:
    """Start a gateway over engines or a router, and add it to `started`. It is not yet ready; .lab has its settings."""
    port = next(free_ports(GATEWAY_PORT))
    config = paths.STATE / "gateway.yaml"
    config.parent.mkdir(exist_ok=True)
    settings = {
        "host": HOST,
        "port": port,
        "policy": SCHEDULED_BY[policy],
        "engines": [
            {"url": each.url, "name": each.name, "max_in_flight": MAX_IN_FLIGHT * _engines_of(each)}
            for each in backends
        ],
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    argv = (str(paths.PYTHON), "-m", "llm_gateway", "--config", str(config))
    return service.start(Service("gateway", argv, f"http://{HOST}:{port}"), started)


def start_monitor(watched: Sequence[Running], started: list[Running]) -> Running:
    """Start a monitor of the services, and add it to `started`. It is not yet ready; .lab/monitor keeps its history."""
    port = next(free_ports(MONITOR_PORT))
    config = paths.STATE / "monitor.yaml"
    config.parent.mkdir(exist_ok=True)
    targets = [{"address": each.url, "labels": {"instance": each.name}} for each in watched]
    routers = [each.url for each in watched if each.name == ROUTER]
    settings = {
        "host": HOST,
        "port": port,
        "data": str(paths.STATE / MONITOR),
        "collect": {"targets": targets, "routers": routers},
        "alerts": {"runbooks": RUNBOOKS},
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    argv = (str(paths.PYTHON), "-m", "llm_monitor", "serve", "--config", str(config))
    return service.start(Service(MONITOR, argv, f"http://{HOST}:{port}"), started)


def start_recorder(watched: Sequence[Running], file: Path, started: list[Running]) -> Running:
    """Record what services export, until it is stopped, into a file that the monitor replays."""
    file.unlink(missing_ok=True)
    argv = (str(paths.PYTHON), "-m", "llm_monitor", "record", str(file), *(each.url for each in watched))
    return service.start(Service("recorder", argv, watched[0].url), started)


def _engines_of(backend: Running) -> int:
    return ROUTED_REPLICAS if backend.name == ROUTER else 1


def announcement(kind: EngineKind, model: Model, *, router: bool) -> str:
    if router:
        return f"Starting a router with {ROUTED_REPLICAS} x {kind} on {model.name} and the gateway …"
    return f"Starting {REPLICAS} x {kind} on {model.name} and the gateway …"


def start(
    kind: EngineKind,
    policy: GatewayPolicy,
    started: list[Running],
    *,
    model: Model,
    router: bool,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start engines, a router if asked for, and a gateway. Return the gateway once all are ready.

    `flags` are the engines'; `environment` is for engines without a router.
    """
    if router:
        start_router(kind, started, model=model, flags=flags)
    else:
        start_engines(kind, started, (flags,) * REPLICAS, model=model, environment=environment)
    gateway = start_gateway(started, policy, started)
    service.wait_until_ready(started)
    return gateway


def save(running: Sequence[Running]) -> None:
    paths.STACK_FILE.parent.mkdir(exist_ok=True)
    paths.STACK_FILE.write_text(json.dumps([each.to_json() for each in running], indent=2))


def load() -> list[Running]:
    """Return what `./lab up` left running, in the order it was started; empty if nothing is on record."""
    if not paths.STACK_FILE.exists():
        return []
    return [Running.from_json(each) for each in json.loads(paths.STACK_FILE.read_text())]


def forget() -> None:
    paths.STACK_FILE.unlink(missing_ok=True)
