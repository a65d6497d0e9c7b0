"""The history on disk: chunks in SQLite, rows in SQLite, and rows in DuckDB.

    .venv/bin/python services/monitor/benchmarks/history_engines.py [--minutes 10] [--series 2500]

Each contender gets the same samples, one of each series a second, and commits each second:

    chunks    our store: a journal, and each minute compressed chunks, in SQLite
    sqlite    a table (series, time, value) with that primary key, in SQLite's WAL mode
    duckdb    a table (series, time, value) in DuckDB, inserted from a numpy array

Nine in ten series change each second, as on a busy engine. Measured are the CPU time a second of samples, the size on
disk, the CPU time of a query for one histogram of 10 targets (230 series) over all but the last two minutes, the
memory, and the seconds that are lost when the process is killed with SIGKILL. Each contender runs in a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import duckdb
import numpy as np
import psutil

from llm_measure import results
from llm_measure.processes import ENVIRONMENT
from llm_monitor.history import History, Store
from llm_monitor.series import Head, Layout, Matcher, Page, labels_of

BEGIN = 1_700_000_040.0
TARGETS, BUCKETS = 10, 23
QUERIES = 5
HEAD_SECONDS = 120
"""The time before the present that a query leaves out, as it would be read from memory."""
MIB = 2**20
Numbers = np.ndarray[Any, np.dtype[np.float64]]


class Contender(Protocol):
    def write(self, at: float, values: Numbers) -> None:
        """Commit one sample of each series."""

    def query(self, start: float, end: float) -> int:
        """Read the first TARGETS x BUCKETS series. Return the number of samples."""

    def last(self) -> float:
        """Return the time of the last sample."""


class Chunks:
    def __init__(self, folder: Path, series: int) -> None:
        self._now = BEGIN
        self._head = Head(max_series_of_target=series)
        self._store = Store(folder / "chunks.db")
        self._history = History(self._store, self._head, now=lambda: self._now)
        self._layout = Layout(
            tuple(labels_of({"__name__": f"m{n // (TARGETS * BUCKETS)}", "n": str(n)}) for n in range(series))
        )

    def write(self, at: float, values: Numbers) -> None:
        self._now = at
        self._head.append("all", at, Page(self._layout, values))
        self._history.tick()
        if self._history.error:
            raise RuntimeError(self._history.error)

    def query(self, start: float, end: float) -> int:
        return sum(len(found.times) for found in self._store.select(0, [Matcher("__name__", "=", "m0")], start, end))

    def last(self) -> float:
        self._history.tick()  # makes chunks of the journal that was left
        found = self._store.select(0, [Matcher("__name__", "=", "m0"), Matcher("n", "=", "0")], 0, 1e11)
        return max(float(one.times[~np.isnan(one.values)][-1]) for one in found)


class Rows:
    """SQLite with a row for each sample."""

    def __init__(self, folder: Path, series: int) -> None:
        self._connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS sample (series INTEGER, time INTEGER, value REAL, PRIMARY KEY (series, time))"
            " WITHOUT ROWID"
        )

    def write(self, at: float, values: Numbers) -> None:
        self._connection.execute("BEGIN")
        rows = ((number, int(at), value) for number, value in enumerate(values.tolist()))
        self._connection.executemany("INSERT INTO sample VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def query(self, start: float, end: float) -> int:
        query = "SELECT series, time, value FROM sample WHERE series < ? AND time > ? AND time <= ?"
        return len(self._connection.execute(query, (TARGETS * BUCKETS, int(start), int(end))).fetchall())

    def last(self) -> float:
        return float(self._connection.execute("SELECT max(time) FROM sample WHERE series = 0").fetchone()[0])


class Duck:
    """DuckDB with a row for each sample."""

    def __init__(self, folder: Path, series: int) -> None:
        self._connection = duckdb.connect(str(folder / "duck.db"), config={"threads": 1})
        self._connection.execute("CREATE TABLE IF NOT EXISTS sample (series INTEGER, time BIGINT, value DOUBLE)")
        self._numbers = np.arange(series, dtype=np.int32)

    def write(self, at: float, values: Numbers) -> None:
        batch = {"series": self._numbers, "value": values}
        self._connection.execute("INSERT INTO sample SELECT series, ?, value FROM batch", [int(at)])
        del batch

    def query(self, start: float, end: float) -> int:
        query = (
            "SELECT series, time, value FROM sample WHERE series < ? AND time > ? AND time <= ? ORDER BY series, time"
        )
        found = self._connection.execute(query, [TARGETS * BUCKETS, int(start), int(end)]).fetchnumpy()
        return len(found["time"])

    def last(self) -> float:
        row = self._connection.execute("SELECT max(time) FROM sample WHERE series = 0").fetchone()
        return float(row[0]) if row else 0.0


CONTENDERS: dict[str, Callable[[Path, int], Contender]] = {"chunks": Chunks, "sqlite": Rows, "duckdb": Duck}


def child(name: str, folder: Path, series: int, minutes: int) -> None:
    """Write all samples, query, print what it cost, and kill this process."""
    contender, chance = CONTENDERS[name](folder, series), np.random.default_rng(0)
    values = np.zeros(series)
    began, slowest = time.process_time(), 0.0
    for second in range(1, minutes * 60 + 1):
        changes = chance.random(series) < 0.9
        values = values + changes * chance.integers(1, 50, series)
        before = time.process_time()
        contender.write(BEGIN + second, values)
        slowest = max(slowest, time.process_time() - before)
    spent = time.process_time() - began
    end = BEGIN + minutes * 60
    queries = []
    for _ in range(QUERIES):
        before = time.process_time()
        samples = contender.query(BEGIN, end - HEAD_SECONDS)
        queries.append(1000 * (time.process_time() - before))
    print(
        json.dumps(
            {
                "cpu_ms_a_second": 1000 * spent / (minutes * 60),
                "slowest_write_cpu_ms": 1000 * slowest,
                "query_cpu_ms": statistics.median(queries),
                "query_samples": samples,
                "memory_mib": psutil.Process().memory_info().rss / MIB,
            }
        ),
        flush=True,
    )
    os.kill(os.getpid(), signal.SIGKILL)


def measure(name: str, series: int, minutes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, __file__, "--child", name, "--folder", folder)
        sizes = ("--series", str(series), "--minutes", str(minutes))
        done = subprocess.run(
            (*command, *sizes), stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT}, check=False
        )
        found: dict[str, Any] = json.loads(done.stdout)
        found["disk_mib"] = sum(path.stat().st_size for path in Path(folder).iterdir()) / MIB
        found["seconds_lost_at_kill"] = BEGIN + minutes * 60 - CONTENDERS[name](Path(folder), series).last()
    print(f"  {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--series", type=int, default=2500)
    parser.add_argument("--no-write", action="store_true", help="leave results/history_engines.json as it is")
    parser.add_argument("--child", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.folder, arguments.series, arguments.minutes)
    machine = results.machine()
    found: dict[str, Any] = {"machine": machine, "series": arguments.series, "minutes": arguments.minutes}
    found["contenders"] = {name: measure(name, arguments.series, arguments.minutes) for name in CONTENDERS}
    ours = found["contenders"]["chunks"]
    held = results.check(
        found,
        {
            "CPU of our store a second of samples, ms": (ours["cpu_ms_a_second"], "<=", 10.0),
            "seconds lost at SIGKILL": (ours["seconds_lost_at_kill"], "<=", 2.0),
        },
    )
    if not arguments.no_write:
        print(results.write(__file__, found).name)
    sys.exit(not held)


if __name__ == "__main__":
    main()
