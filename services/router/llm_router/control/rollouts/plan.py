"""From the file of an operator to what Serve is given, and from there to the former state or another size.

Serve restarts every replica of an application whose `args` change. So the plan keeps in `args` only what an engine
must restart for. The number of engines becomes an override of the deployment. The settings that edges apply become
the edge's `user_config`, which Serve hands to running edges. The records of rollouts travel there as well: Serve
checkpoints them, and any edge can roll back.

Pure functions on Serve's declarative format: no Ray, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.control.names import EDGE, EDGE_DEPLOYMENT, ENGINE_DEPLOYMENT, ENGINES
from llm_router.control.scaling.config import autoscaling
from llm_router.settings import EnginesSettings, ModelSettings, version_of

Entry = dict[str, Any]
"""An application in Serve's declarative format."""
Surge = Callable[[EnginesSettings], int]
"""Settings -> max_surge_percent."""


class InvalidConfig(ValueError):
    """The whole configuration is refused. The message says where and why."""


class RolloutRecord(BaseModel):
    """The newest change of one application."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    application: str
    from_version: str = ""
    to_version: str
    started: float
    former: Entry | None = None
    """The entry to return to."""
    ended: float | None = None
    rolled_back: bool = False
    message: str = ""


class EdgeConfig(BaseModel):
    """The `user_config` of the edges."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    models: tuple[ModelSettings, ...] = ()
    rollouts: tuple[RolloutRecord, ...] = ()


def checked(config: Mapping[str, Any]) -> dict[str, EnginesSettings]:
    """Return the settings of each `engines` application by its name. Raise InvalidConfig."""
    entries = config.get("applications")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidConfig("applications: a list of applications is required")
    found: dict[str, EnginesSettings] = {}
    edges = []
    for number, entry in enumerate(entries):
        where = f"applications.{number}"
        name = str(entry.get("name") or where)
        if (is_engines(entry) or is_edge(entry)) and entry.get("deployments"):
            raise InvalidConfig(f"{where}.deployments: not allowed; the settings of {name} belong into its args")
        if name in found or name in edges:
            raise InvalidConfig(f"{where}.name: {name} appears more than once")
        if is_engines(entry):
            found[name] = _args(EnginesSettings, entry, where)
        elif is_edge(entry):
            edges.append(name)
            _args(EdgeAppSettings, entry, where)
    if len(edges) != 1:
        raise InvalidConfig(f"applications: {len(edges)} have the import_path {EDGE}; exactly one must")
    models = [settings.model for settings in found.values()]
    if twice := {model for model in models if models.count(model) > 1}:
        raise InvalidConfig(f"applications: {min(twice)} is the model of more than one application")
    return found


def _args(model: type[Any], entry: Entry, where: str) -> Any:
    try:
        return model(**(entry.get("args") or {}))
    except ValidationError as error:
        raise InvalidConfig("; ".join(_describe(where, problem) for problem in error.errors())) from None


def _describe(where: str, problem: Any) -> str:
    path = ".".join([where, "args", *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown setting"
    return f"{path}: {problem['msg'].removeprefix('Value error, ')}"


def is_engines(entry: Mapping[str, Any]) -> bool:
    return entry.get("import_path") == ENGINES


def is_edge(entry: Mapping[str, Any]) -> bool:
    return entry.get("import_path") == EDGE


def version(entry: Mapping[str, Any]) -> str:
    """Return the version of an application, as its replicas publish it."""
    args = entry.get("args") or {}
    return EnginesSettings(**args).version if is_engines(entry) else version_of(dict(args))


def plan(config: Mapping[str, Any], running: Mapping[str, Entry], *, surge: Surge, now: float) -> dict[str, Any]:
    """Return the configuration for Serve, with a rollout record for each application whose version changes.

    running   the entries that Serve has now, by name
    """
    settings = checked(config)
    planned = deepcopy(dict(config))
    for entry in planned["applications"]:
        if (found := settings.get(entry["name"])) is not None:
            entry["args"] = found.restarting
            entry["deployments"] = [_engine_override(found, surge(found))]
    records = {record.application: record for record in edge_config(running).rollouts}
    for entry in planned["applications"]:
        record = _record(entry, running.get(entry["name"]), now)
        if record is not None:
            records[record.application] = record
    names = {entry["name"] for entry in planned["applications"]}
    models = tuple(found.at_edge for found in settings.values())
    kept = tuple(record for record in records.values() if record.application in names)
    _set_edge_config(planned["applications"], EdgeConfig(models=models, rollouts=kept))
    return planned


def _record(entry: Entry, before: Entry | None, now: float) -> RolloutRecord | None:
    new = version(entry)
    if before is None:
        return RolloutRecord(application=entry["name"], to_version=new, started=now)
    if code(before) == code(entry):
        return None
    former = {key: deepcopy(value) for key, value in before.items() if not (is_edge(before) and key == "deployments")}
    return RolloutRecord(
        application=entry["name"], from_version=version(before), to_version=new, started=now, former=former
    )


def code(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the parts of an entry whose change makes Serve restart the application."""
    return entry.get("import_path"), entry.get("args") or {}, entry.get("runtime_env") or {}


def _engine_override(settings: EnginesSettings, surge_percent: int) -> dict[str, Any]:
    return {
        "name": ENGINE_DEPLOYMENT,
        "autoscaling_config": autoscaling(settings),
        "max_surge_percent": surge_percent,
    }


def rolled_back(running: Mapping[str, Entry], application: str, *, message: str, now: float) -> dict[str, Any] | None:
    """Return the configuration with the application's former entry; None if there is none to return to."""
    config = edge_config(running)
    records = {record.application: record for record in config.rollouts}
    record = records.get(application)
    if record is None or record.former is None or record.ended is not None:
        return None
    done = {"former": None, "ended": now, "rolled_back": True, "message": message}
    records[application] = record.model_copy(update=done)
    entries = [deepcopy(record.former if name == application else entry) for name, entry in running.items()]
    _set_edge_config(entries, config.model_copy(update={"rollouts": tuple(records.values())}))
    return {"applications": entries}


def settled(running: Mapping[str, Entry], applications: Collection[str], *, now: float) -> dict[str, Any] | None:
    """Return the configuration in which the rollouts of these applications have ended; None if none is open.

    A later failure of an application has nothing to do with its last rollout and must not roll it back.
    """
    config = edge_config(running)
    ended = {"former": None, "ended": now}
    open_ones = {one.application for one in config.rollouts if one.ended is None and one.application in applications}
    if not open_ones:
        return None
    records = tuple(one.model_copy(update=ended) if one.application in open_ones else one for one in config.rollouts)
    entries = deepcopy(list(running.values()))
    _set_edge_config(entries, config.model_copy(update={"rollouts": records}))
    return {"applications": entries}


def scaled(running: Mapping[str, Entry], model: str, engines: int) -> dict[str, Any]:
    """Return the configuration in which a model has a fixed number of engines. Raise InvalidConfig."""
    entries = deepcopy(dict(running))
    for entry in entries.values():
        if is_engines(entry) and (entry.get("args") or {}).get("model") == model:
            settings = EnginesSettings(**entry["args"])
            fixed = settings.model_copy(update={"replicas": engines, "autoscaling": None})
            before = (entry.get("deployments") or [{}])[0]
            entry["deployments"] = [{**_engine_override(fixed, 0), **before, "autoscaling_config": autoscaling(fixed)}]
            return {"applications": list(entries.values())}
    models = ", ".join(sorted(entry["args"]["model"] for entry in running.values() if is_engines(entry)))
    raise InvalidConfig(f"model {model} is not served; the models are {models or 'none'}")


def edge_config(running: Mapping[str, Entry]) -> EdgeConfig:
    """Return the edges' settings: those of the plan, and the args of a model that `serve deploy` brought."""
    found = EdgeConfig()
    for entry in running.values():
        for deployment in entry.get("deployments") or ():
            if is_edge(entry) and deployment.get("name") == EDGE_DEPLOYMENT and deployment.get("user_config"):
                found = EdgeConfig(**deployment["user_config"])
    known = {model.name for model in found.models}
    more = []
    for entry in running.values():
        if is_engines(entry):
            try:
                settings = EnginesSettings(**(entry.get("args") or {}))
            except ValidationError:
                continue
            more += [settings.at_edge] if settings.model not in known else []
    return found.model_copy(update={"models": (*found.models, *more)})


def _set_edge_config(entries: list[Entry], config: EdgeConfig) -> None:
    for entry in entries:
        if is_edge(entry):
            entry["deployments"] = [{"name": EDGE_DEPLOYMENT, "user_config": config.model_dump(mode="json")}]
