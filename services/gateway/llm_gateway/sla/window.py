"""The requests of a time span as columns, loaded once and asked many questions.

Percentiles in SQL take 3 s a column on a million rows; NumPy sorts a column in 0.1 s and lets the event loop run
meanwhile. Reading the rows does not, so it is done in chunks with a pause after each: the loop waits for a chunk, a
millisecond or two, never for the window.
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

SELECT = (
    "SELECT time, class, tenant, verdict, prompt_tokens, output_tokens, queue_wait, ttft, tpot, e2e"
    " FROM requests WHERE time > ? AND time <= ? ORDER BY time"
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Rows in the order of time; durations are seconds, NaN where there is none."""

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
        """From the window's start to its end, or from its first request on if the records begin later."""
        begin = self.start if not len(self) else max(self.start, float(self.time[0]))
        return max(self.end - begin, 1.0)


def load(connection: sqlite3.Connection, start: float, end: float) -> Window:
    """The requests that ended in (start, end], wall clock."""
    classes, tenants = Codes(), Codes()
    chunks: list[tuple[npt.NDArray[Any], ...]] = []
    cursor = connection.execute(SELECT, (start, end))
    while rows := cursor.fetchmany(CHUNK_ROWS):
        when, names, owners, *rest = zip(*rows, strict=True)
        codes = (classes.of(names), tenants.of(owners), *(_integers(column) for column in rest[:3]))
        chunks.append((_floats(when), *codes, *(_floats(column) for column in rest[3:])))
        time.sleep(PAUSE_SECONDS)
    kinds: tuple[npt.DTypeLike, ...] = (float, int, int, int, int, int, float, float, float, float)
    columns = [np.concatenate([np.empty(0, kind), *parts]) for kind, parts in zip(kinds, _columns(chunks), strict=True)]
    return Window(start, end, tuple(classes), tuple(tenants), *columns)


class Codes(dict[str, int]):
    """Numbers names in the order of their first appearance."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]

    def of(self, names: tuple[str, ...]) -> Integers:
        return np.array([self[name] for name in names], dtype=int)


def _columns(chunks: list[tuple[npt.NDArray[Any], ...]]) -> list[list[npt.NDArray[Any]]]:
    return [[chunk[column] for chunk in chunks] for column in range(10)]


def _integers(column: tuple[int, ...]) -> Integers:
    return np.array(column, dtype=int)


def _floats(column: tuple[float | None, ...]) -> Floats:
    """None becomes NaN."""
    return np.array(column, dtype=float)
