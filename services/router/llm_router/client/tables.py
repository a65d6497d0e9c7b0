"""The status of a router as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llm_router.status import ApplicationStatus, RolloutStatus, Status

Load = Mapping[str, Mapping[str, Any]]
"""Engine id -> what the edge knows of it: in_flight, running, waiting, kv_usage, up."""


def loads_of(answer: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the load of each engine from an edge's /-/status."""
    return {one["id"]: one for model in answer.get("models", ()) for one in model.get("engines", ())}


def status_text(status: Status, loads: Load) -> str:
    """Return GPUs, applications with their engines, and what waits."""
    parts = []
    if status.controller != "running":
        parts.append("Serve's controller does not answer: requests are served, nothing is scaled or repaired.")
    parts += [f"node {one.address}: {one.gpus - one.gpus_free:g} of {one.gpus:g} GPUs in use" for one in status.nodes]
    for application in status.applications:
        parts += ["", _headline(application)]
        if application.kind == "engines" and application.engines:
            parts.append(
                columns(_ENGINE_HEADS, (_engine_row(one, loads.get(one.id, {})) for one in application.engines))
            )
        if application.waits_for:
            parts.append(f"  waits for {application.waits_for}")
        if application.message:
            parts.append(_indented(application.message))
    return "\n".join(parts).strip()


_ENGINE_HEADS = ("  engine", "state", "version", "GPUs", "in flight", "running", "waiting", "KV", "url")


def _engine_row(engine: Any, load: Mapping[str, Any]) -> Sequence[str]:
    usage = load.get("kv_usage")
    state = engine.state if load.get("up", True) else f"{engine.state}, ejected"
    return (
        f"  {engine.id}",
        state,
        engine.version or "-",
        ",".join(engine.gpus) or "-",
        _number(load.get("in_flight")),
        _number(load.get("running")),
        _number(load.get("waiting")),
        "-" if usage is None else f"{usage:.0%}",
        engine.url or "-",
    )


def _headline(application: ApplicationStatus) -> str:
    what = f"{application.model} ({application.policy})" if application.kind == "engines" else "edge"
    between = f", {application.autoscaling[0]} to {application.autoscaling[1]}" if application.autoscaling else ""
    return (
        f"{application.name}: {what}, {application.status}, {application.ready} of {application.target} ready{between}"
    )


def rollouts_text(status: Status) -> str:
    """Return a line for each application's newest rollout, and why it failed."""
    return "\n".join(map(rollout_line, status.rollouts)) or "no rollouts"


def rollout_line(rollout: RolloutStatus) -> str:
    versions = f"{rollout.from_version or 'new'} → {rollout.to_version}"
    state = rollout.state.replace("_", " ")
    line = f"{rollout.application}: {versions}, {state}, {rollout.ready} of {rollout.target} ready"
    return f"{line}\n{_indented(rollout.message)}" if rollout.message else line


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return left-aligned columns."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
