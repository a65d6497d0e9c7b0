"""The requests of a time span as columns, loaded once for many computations.

Percentiles in SQL take 3 s per column on a million rows. NumPy sorts a column in 0.1 s and releases the GIL, so the
event loop keeps running. Reading rows holds the GIL, so it is done in chunks with a pause after each: the loop waits a
millisecond or two for a chunk, never for the window.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK_ROWS = 1000
PAUSE_SECONDS = 0.0005

COLUMNS: dict[str, tuple[str, type]] = {
    "time": ("time", float),
    "class_code": ("class", int),
    "tenant_code": ("tenant", int),
    "verdict": ("verdict", int),
    "prompt_tokens": ("prompt_tokens", int),
    "output_tokens": ("output_tokens", int),
    "queue_wait": ("queue_wait", float),
    "ttft": ("ttft", float),
    "tpot": ("tpot", float),
    "e2e": ("e2e", float),
}
"""Field of Window -> (column of the table, type in the array)."""
SELECT = (
    f"SELECT {', '.join(column for column, _ in COLUMNS.values())}"
    " FROM requests WHERE time > ? AND time <= ? ORDER BY time"
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The rows in order of time. Durations are in seconds, NaN where there is none."""

    start: float
    end: float
    classes: tuple[str, ...]
    tenants: tuple[str, ...]
    time: Floats
    class_code: Integers
    """Index into `classes`."""
    tenant_code: Integers
    verdict: Integers
    prompt_tokens: Integers
    output_tokens: Integers
    queue_wait: Floats
    ttft: Floats
    tpot: Floats
    e2e: Floats

    def __len__(self) -> int:
        return len(self.time)

    @property
    def seconds(self) -> float:
        """The length of the window, counted from its first request if the records begin later; at least 1."""
        begin = self.start if not len(self) else max(self.start, float(self.time[0]))
        return max(self.end - begin, 1.0)


def load(connection: sqlite3.Connection, start: float, end: float) -> Window:
    """Return the requests that ended in (start, end] on the wall clock."""
    classes, tenants = Codes(), Codes()
    chunks: dict[str, list[npt.NDArray[Any]]] = {field: [np.empty(0, kind)] for field, (_, kind) in COLUMNS.items()}
    cursor = connection.execute(SELECT, (start, end))
    while rows := cursor.fetchmany(CHUNK_ROWS):
        columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
        columns["class_code"] = classes.of(columns["class_code"])
        columns["tenant_code"] = tenants.of(columns["tenant_code"])
        for field, values in columns.items():
            chunks[field].append(np.array(values, dtype=COLUMNS[field][1]))  # None becomes NaN
        time.sleep(PAUSE_SECONDS)
    joined = {field: np.concatenate(parts) for field, parts in chunks.items()}
    return Window(start=start, end=end, classes=tuple(classes), tenants=tuple(tenants), **joined)


class Codes(dict[str, int]):
    """Numbers for names, in order of first appearance."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]

    def of(self, names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self[name] for name in names)
