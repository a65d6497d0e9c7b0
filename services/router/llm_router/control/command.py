"""`llm-router serve`: Ray, engines and an edge on this machine, until a signal arrives.

    llm-router serve models/main --replicas 4
    llm-router serve Qwen/Qwen3-8B --engine-command 'vllm serve Qwen/Qwen3-8B --served-model-name {model} --port {port}'
    llm-router serve --config router.yaml

Flags and file make the same configuration; `--print-config` prints it.
"""

from __future__ import annotations

import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import Field
from pydantic_settings import CliPositionalArg

from llm_contract.settings import ServiceSettings, load
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.control.hooks import MissingHooks
from llm_router.control.names import EDGE, ENGINES
from llm_router.control.rollouts.plan import InvalidConfig, checked
from llm_router.settings import EdgeFields, EngineFields, EnginesSettings

PROG = "llm-router serve"
OUR_ENGINE = "{python} -m llm_engine serve PATH --served-model-name {model} --port {port}"


class RaySettings(ServiceSettings, env_prefix="LLM_ROUTER_"):
    """A router from a file."""

    address: str | None = Field(None, description="join this Ray cluster; by default one of its own is started")
    logical_gpus: float | None = Field(
        None, ge=0, description="GPUs that Ray shall count; by default the real ones, or enough if there are none"
    )


class ServeSettings(RaySettings, EngineFields, EdgeFields):  # type: ignore[misc]
    """A router for one model on this machine."""

    path: CliPositionalArg[str] = Field(description="the model, for the engine")
    model: str = Field("", description="name that clients use; by default the last part of the model's path")
    engine_command: str = Field(OUR_ENGINE, description="command that starts an engine server on {port}")

    def config(self) -> dict[str, Any]:
        """Return the configuration in Serve's declarative format."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        model = self.model or Path(self.path).name
        path = shlex.quote(self.path.replace("{", "{{").replace("}", "}}"))
        command = OUR_ENGINE.replace("PATH", path) if self.engine_command == OUR_ENGINE else self.engine_command
        args = {**values, "model": model, "engine_command": command}
        engine_args = {name: args[name] for name in EnginesSettings.model_fields if name in args}
        edge_args = {name: values[name] for name in EdgeAppSettings.model_fields if name in values}
        return {
            "proxy_location": "Disabled",
            "applications": [
                {"name": f"engines-{model}", "route_prefix": None, "import_path": ENGINES, "args": engine_args},
                {"name": "edge", "route_prefix": None, "import_path": EDGE, "args": edge_args},
            ],
        }


def main(argv: Sequence[str]) -> None:
    config, ray_settings, only_print = configured(argv)
    try:
        settings = checked(config)
    except InvalidConfig as error:
        _refuse(str(error))
    if only_print:
        yaml.safe_dump(config, sys.stdout, sort_keys=False)
        return
    edge = edge_args(config)
    _check_port(edge.host, edge.port)
    serve(config, ray_settings, gpus=_gpus(ray_settings, settings.values()))


def configured(argv: Sequence[str]) -> tuple[dict[str, Any], RaySettings, bool]:
    """Return the configuration, Ray's settings, and whether to print the configuration only."""
    rest = [word for word in argv if word != "--print-config"]
    only_print = len(rest) < len(argv)
    if "--config" not in rest:
        settings = load(ServeSettings, prog=PROG, argv=rest)
        return settings.config(), settings, only_print
    place = rest.index("--config")
    file, rest = Path(*rest[place + 1 : place + 2]), rest[:place] + rest[place + 2 :]
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        _refuse(f"{file}: {error}")
    if not isinstance(config, dict):
        _refuse(f"{file}: expected a mapping with `applications`")
    return config, load(RaySettings, prog=PROG, argv=rest), only_print


def edge_args(config: dict[str, Any]) -> EdgeAppSettings:
    return next(
        EdgeAppSettings(**(each.get("args") or {})) for each in config["applications"] if each["import_path"] == EDGE
    )


def serve(config: dict[str, Any], settings: RaySettings, *, gpus: float | None) -> None:
    """Deploy, print the URL once a request can be served, and drain at SIGTERM or SIGINT."""
    from llm_router.control import local, memory

    try:
        local.start(address=settings.address, gpus=gpus)
    except (MissingHooks, local.StartFailed) as error:
        _fail(str(error))
    try:
        stop = _stop_signals()
        local.deploy(config)
        url = local.wait_until_ready(stop, say=lambda line: print(line, file=sys.stderr, flush=True))
        if url:
            print(url, flush=True)
            memory.give_back()
            stop.wait()
            _end_at_once_at_the_next()
    except local.StartFailed as error:
        _fail(str(error))
    finally:
        local.stop(joined=settings.address is not None)


def _stop_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set. Ray has handlers of its own since `ray.init`; these replace them."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _end_at_once_at_the_next() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _gpus(settings: RaySettings, models: Iterable[EnginesSettings]) -> float | None:
    """Return the number of GPUs for Ray: on a machine without any, what all engines take and one engine to spare."""
    if settings.logical_gpus is not None or settings.address is not None or Path("/dev/nvidiactl").exists():
        return settings.logical_gpus
    needs = [(each.bounds[1] * each.gpus_per_engine, each.gpus_per_engine) for each in models]
    return sum(all_of for all_of, _ in needs) + max((one for _, one in needs), default=0)


def _check_port(host: str, port: int) -> None:
    """End with a message if another program listens. Edges share their port, so binding would tell no difference."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            _refuse(f"cannot listen on {host}:{port}: {error.strerror}")


def _refuse(message: str) -> NoReturn:
    _fail(message, status=2)


def _fail(message: str, status: int = 1) -> NoReturn:
    print(f"{PROG}: {message}", file=sys.stderr)
    raise SystemExit(status)
