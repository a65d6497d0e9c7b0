"""Engines and the gateway in front of them, on free ports, remembered on disk so that another command can stop them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
ENGINE_PORT = 8101
REPLICAS = 2
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


def start_gateway(engines: Sequence[Running], policy: GatewayPolicy, started: list[Running]) -> Running:
    """Start a gateway over `engines`, not yet ready, and add it to `started`. It reads .lab/gateway.yaml."""
    port = next(free_ports(GATEWAY_PORT))
    config = paths.STATE / "gateway.yaml"
    config.parent.mkdir(exist_ok=True)
    settings = {
        "host": HOST,
        "port": port,
        "policy": SCHEDULED_BY[policy],
        "engines": [{"url": each.url, "name": each.name, "max_in_flight": MAX_IN_FLIGHT} for each in engines],
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    argv = (str(paths.PYTHON), "-m", "llm_gateway", "--config", str(config))
    return service.start(Service("gateway", argv, f"http://{HOST}:{port}"), started)


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
