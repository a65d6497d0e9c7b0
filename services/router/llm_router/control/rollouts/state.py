"""The router's status, from what Serve's controller, the replicas' metadata and Ray's nodes say. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from llm_router.control.names import ENGINE_DEPLOYMENT
from llm_router.control.rollouts.plan import RolloutRecord, edge_config, is_edge, is_engines, version
from llm_router.control.rollouts.watch import RUNNING, SERVING, failure
from llm_router.fleet.engine import EngineInfo
from llm_router.settings import EnginesSettings, ModelSettings
from llm_router.status import ApplicationStatus, EngineStatus, NodeStatus, RolloutState, RolloutStatus, Status

STARTING = "STARTING"


def status_of(
    entries: Mapping[str, dict[str, Any]],
    details: Mapping[str, dict[str, Any]],
    engines: Mapping[str, Sequence[EngineInfo]],
    nodes: Sequence[NodeStatus],
) -> Status:
    """Return the status.

    entries   declarative entries by application
    details   the controller's `get_serve_instance_details()["applications"]`
    engines   published engines by application
    """
    config = edge_config(entries)
    models = {model.name: model for model in config.models}
    known = {info.id: info for infos in engines.values() for info in infos}
    applications = tuple(
        _application(entry, details[name], known=known, models=models, nodes=nodes)
        for name, entry in entries.items()
        if name in details and (is_engines(entry) or is_edge(entry))
    )
    by_name = {application.name: application for application in applications}
    rollouts = tuple(
        _rollout(record, by_name[record.application]) for record in config.rollouts if record.application in by_name
    )
    return Status(applications=applications, nodes=tuple(nodes), rollouts=rollouts)


def _application(
    entry: Mapping[str, Any],
    detail: Mapping[str, Any],
    *,
    known: Mapping[str, EngineInfo],
    models: Mapping[str, ModelSettings],
    nodes: Sequence[NodeStatus],
) -> ApplicationStatus:
    deployments = detail.get("deployments", {}).values()
    replicas = [replica for deployment in deployments for replica in deployment.get("replicas", ())]
    settings = _settings(entry)
    model = settings.model if settings else ""
    listed = tuple(_engine(replica, known, model) for replica in replicas)
    message = failure(detail) if detail["status"] in ("DEPLOY_FAILED", "UNHEALTHY") else str(detail.get("message", ""))
    return ApplicationStatus(
        name=entry["name"],
        kind="engines" if settings else "edge",
        status=str(detail["status"]),
        message=message,
        model=model,
        policy=models[model].policy if model in models else "",
        version=version(entry),
        target=sum(int(each.get("target_num_replicas") or 0) for each in deployments),
        ready=sum(replica["state"] in SERVING for replica in replicas),
        autoscaling=_bounds(entry),
        gpus_per_engine=settings.gpus_per_engine if settings else 0,
        waits_for=_waits_for(replicas, settings, nodes),
        engines=listed,
    )


def _settings(entry: Mapping[str, Any]) -> EnginesSettings | None:
    if not is_engines(entry):
        return None
    try:
        return EnginesSettings(**(entry.get("args") or {}))
    except ValidationError:
        return None


def _engine(replica: Mapping[str, Any], known: Mapping[str, EngineInfo], model: str) -> EngineStatus:
    name = str(replica["replica_id"])
    info = known.get(name)
    common = {"id": name, "state": str(replica["state"]), "model": model}
    if info is None:
        return EngineStatus(**common, node=replica.get("node_id") or "", pid=replica.get("pid") or 0)
    return EngineStatus(
        **common,
        version=info.version,
        url=info.url,
        node=info.node,
        gpus=info.gpus,
        pid=info.pid,
        engine_pid=info.engine_pid,
    )


def _bounds(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the bounds of a model whose number of engines varies."""
    settings = _settings(entry)
    low, high = settings.bounds if settings else (0, 0)
    for deployment in entry.get("deployments") or ():
        if deployment.get("name") == ENGINE_DEPLOYMENT and (scaling := deployment.get("autoscaling_config")):
            low, high = scaling["min_replicas"], scaling["max_replicas"]
    return (low, high) if low != high else None


def _waits_for(
    replicas: Sequence[Mapping[str, Any]], settings: EnginesSettings | None, nodes: Sequence[NodeStatus]
) -> str:
    """Return why replicas that no node has taken do not start."""
    unplaced = sum(replica["state"] == STARTING and not replica.get("node_id") for replica in replicas)
    if not unplaced or settings is None:
        return ""
    free, total = sum(node.gpus_free for node in nodes), sum(node.gpus for node in nodes)
    need = settings.gpus_per_engine
    return f"{unplaced} × {need:g} GPU; {free:g} of {total:g} are free"


def _rollout(record: RolloutRecord, application: ApplicationStatus) -> RolloutStatus:
    new = sum(one.version == record.to_version and one.state in SERVING for one in application.engines)
    return RolloutStatus(
        application=record.application,
        state=_rollout_state(record, application),
        from_version=record.from_version,
        to_version=record.to_version,
        ready=new if application.kind == "engines" else application.ready,
        target=application.target,
        message=record.message or application.message,
        started=record.started,
        ended=record.ended,
    )


def _rollout_state(record: RolloutRecord, application: ApplicationStatus) -> RolloutState:
    if record.rolled_back:
        return "rolled_back" if application.status == RUNNING else "rolling_back"
    if application.status == "DEPLOY_FAILED":
        return "failed" if record.former is None else "rolling_back"
    return "done" if application.status == RUNNING else "in_progress"
