"""Marks on the time axis: deployments that someone reports, targets that went and came, alerts that fired.

Reported ones (`POST /api/annotations`, from a deploy script) are kept in one small file of JSON lines, the newest
`MAX_KEPT` of them. The others come from samples: `up` and ALERTS.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_monitor.promql import Vector
from llm_monitor.web.queries import Queries

MAX_KEPT = 1_000
MAX_SHOWN = 200
STEPS = 600
UP = "up"
FIRING = 'ALERTS{alertstate="firing"}'
Kind = Literal["deploy", "note"]


class Annotation(BaseModel):
    """A mark that a deploy script reports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(ge=0, allow_inf_nan=False)
    text: str = Field(min_length=1, max_length=200)
    kind: Kind = "deploy"
    instance: str = Field("", max_length=200)


class Annotations:
    """The reported annotations; `path` None keeps them in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: deque[Annotation] = deque(maxlen=MAX_KEPT)
        if path is not None and path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    self._kept.append(Annotation.model_validate_json(line))
                except ValidationError:  # a line cut off by a crash
                    continue

    def add(self, annotation: Annotation) -> None:
        """Keep an annotation. Raises OSError if the file cannot be written; it is in memory all the same."""
        was_full = len(self._kept) == MAX_KEPT
        self._kept.append(annotation)
        if self._path is None:
            return
        if was_full:
            fresh = self._path.with_suffix(".new")
            fresh.write_bytes(b"".join(_line(one) for one in self._kept))
            os.replace(fresh, self._path)
        else:
            with self._path.open("ab") as file:
                file.write(_line(annotation))

    def between(self, start: float, end: float) -> list[dict[str, Any]]:
        return [one.model_dump() for one in self._kept if start <= one.time <= end]


async def marks(annotations: Annotations, queries: Queries, start: float, end: float) -> list[dict[str, Any]]:
    """Return all marks of a range by time: {"time", "kind", "text", "instance"}."""
    step = max(1.0, (end - start) / STEPS)
    up = await queries.range(UP, start, end, step)
    firing = await queries.range(FIRING, start, end, step)
    found = annotations.between(start, end) + _changes(up) + _beginnings(firing)
    return sorted(found, key=lambda mark: mark["time"])[-MAX_SHOWN:]


def _changes(up: Vector) -> list[dict[str, Any]]:
    """Return where a target went down or came up."""
    found = []
    for labels, values in zip(up.labels, up.values, strict=True):
        instance = dict(labels).get("instance", "")
        for at, value in _edges(up.times.tolist(), values.tolist()):
            kind, text = ("up", "up again") if value else ("down", "down")
            found.append({"time": at, "kind": kind, "text": f"{instance} {text}", "instance": instance})
    return found


def _beginnings(firing: Vector) -> list[dict[str, Any]]:
    found = []
    for labels, present in zip(firing.labels, firing.present, strict=True):
        names = dict(labels)
        starts = np.flatnonzero(present & ~np.concatenate([[False], present[:-1]]))
        text = " ".join(filter(None, (names.get("alertname", "alert"), names.get("instance", ""))))
        times: Sequence[float] = firing.times[starts].tolist()
        found += [{"time": at, "kind": "alert", "text": text, "instance": names.get("instance", "")} for at in times]
    return found


def _edges(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, bool]]:
    edges, before = [], math.nan
    for at, value in zip(times, values, strict=True):
        if math.isnan(value):
            continue
        if not math.isnan(before) and (value > 0) != (before > 0):
            edges.append((at, value > 0))
        before = value
    return edges


def _line(annotation: Annotation) -> bytes:
    return orjson.dumps(annotation.model_dump()) + b"\n"
