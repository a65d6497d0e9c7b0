"""The database: bounded, shared, and intact after the death of a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.sla import store as sla_store
from llm_gateway.sla.store import SlaStore
from llm_gateway.sla.testing import NOW, record


def times(connection: sqlite3.Connection) -> list[float]:
    return [row[0] for row in connection.execute("SELECT time FROM requests ORDER BY id")]


def store_at(path: Path | str, keep_seconds: float = 3600.0, max_rows: int = 100_000) -> SlaStore:
    return SlaStore(str(path), keep_seconds, max_rows, lambda: NOW)


def test_every_field_comes_back(tmp_path: Path) -> None:
    store = store_at(tmp_path / "sla.db")
    store.write([record(deadline=None, preempted=2, attempts=3)])
    row = store.read(lambda connection: connection.execute("SELECT * FROM requests").fetchone())
    assert row == (
        1, NOW, "interactive", "acme", "e0", "ok", 1, 20, 11, 0.1, 0.3, 0.05, 0.8, 0.5, 0.1, None, 2, 3, 0
    )  # fmt: skip
    assert store.read(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    store.close()


def test_a_file_with_its_columns_in_another_order_is_still_of_use(tmp_path: Path) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in reversed(sla_store.COLUMNS.items()))
    with sqlite3.connect(tmp_path / "sla.db") as connection:
        connection.execute(f"CREATE TABLE requests (id INTEGER PRIMARY KEY, {columns})")
        connection.execute(f"PRAGMA user_version={sla_store.LAYOUT}")
    connection.close()
    store = store_at(tmp_path / "sla.db")
    store.write([record()])
    assert store.read(lambda rows: rows.execute("SELECT class, outcome, e2e, verdict FROM requests").fetchall()) == [
        ("interactive", "ok", 0.8, 0)
    ]
    store.close()
    assert [file.name for file in tmp_path.iterdir() if "damaged" in file.name] == []


def test_a_tenant_of_any_name_can_be_stored() -> None:
    store = store_at("")
    store.write([record(tenant="caf\udce9"), record(tenant="x" * 9000)])
    found = store.read(lambda connection: connection.execute("SELECT tenant FROM requests ORDER BY id").fetchall())
    assert found == [("caf?",), ("x" * 64,)]


def test_rows_that_are_too_old_are_deleted_and_the_rest_stays() -> None:
    store = store_at("", keep_seconds=60)
    ages = [100.0, 61.0, 59.0, 1.0]
    store.write([record(time=NOW - age) for age in ages])
    assert store.read(times) == [NOW - 59.0, NOW - 1.0]


def test_a_backlog_is_deleted_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at("", keep_seconds=1e9)
    store.write([record(time=NOW - 1000)] * 100)
    monkeypatch.setattr(sla_store, "TRIM_ROWS", 10)
    store._keep_seconds = 60
    counts = []
    for _ in range(4):
        store.write([])
        counts.append(len(store.read(times)))
    assert counts == [90, 80, 70, 60]


@settings(max_examples=50)
@given(batches=st.lists(st.integers(0, 40), max_size=12), max_rows=st.integers(1, 50))
def test_never_more_rows_than_allowed_and_the_newest_stay(batches: list[int], max_rows: int) -> None:
    store = store_at("", max_rows=max_rows)
    written: list[float] = []
    for size in batches:
        batch = [NOW + len(written) + number for number in range(size)]
        written += batch
        store.write([record(time=one) for one in batch])
        assert store.read(times) == written[-max_rows:]
    store.close()


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_moved_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sla.db"
    path.write_bytes(content)
    store = store_at(path)
    store.write([record()])
    assert store.read(times) == [NOW]
    assert (tmp_path / f"sla.db.damaged-{NOW:.0f}").read_bytes() == content


def test_a_file_damaged_while_it_is_open_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "sla.db"
    store = store_at(path)
    store.write([record()] * 2000)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    store.write([record(time=NOW - 1)])
    assert store.read(times) == [NOW - 1]


def test_a_database_of_another_layout_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "sla.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE cooking (recipe TEXT)")
    other.close()
    store = store_at(path)
    store.write([record()])
    assert store.read(times) == [NOW]
    assert (tmp_path / f"sla.db.damaged-{NOW:.0f}").exists()


def test_two_processes_may_share_a_file(tmp_path: Path) -> None:
    stores = [store_at(tmp_path / "sla.db") for _ in range(2)]
    for number in range(10):
        stores[number % 2].write([record(time=NOW + number)])
    assert stores[0].read(times) == stores[1].read(times) == [NOW + number for number in range(10)]


def test_a_locked_file_takes_the_batch_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_store, "BUSY_SECONDS", 0.01)
    store = store_at(tmp_path / "sla.db")
    store.write([record()])
    other = sqlite3.connect(tmp_path / "sla.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.write([record()] * 3)
    other.execute("ROLLBACK")
    assert len(store.read(times)) == 1
    store.write([record()] * 3)
    assert len(store.read(times)) == 4


def test_a_full_disk_takes_the_batch_whole_or_not_at_all(tmp_path: Path) -> None:
    store = store_at(tmp_path / "sla.db")
    store.write([record()])
    pages = store.read(lambda connection: connection.execute("PRAGMA page_count").fetchone())[0]
    store.read(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write([record()] * 5000)
    assert store.read(times) == [NOW]


DOOMED = """
import sys
from llm_gateway.sla.testing import record
from llm_gateway.sla.store import SlaStore
store = SlaStore(sys.argv[1], 1e9, 10**6)
for _ in range(4):
    store.write([record()] * 250)
print("written", flush=True)
while True:
    store.write([record(class_name="late")] * 50)
"""


async def test_what_is_written_survives_sigkill(tmp_path: Path) -> None:
    path = str(tmp_path / "sla.db")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DOOMED, path, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"written\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    store = SlaStore(path, 1e9, 10**6, lambda: NOW)
    counts = dict(store.read(lambda db: db.execute("SELECT class, count(*) FROM requests GROUP BY class").fetchall()))
    assert counts["interactive"] == 1000
    assert counts.get("late", 0) % 50 == 0
    assert store.read(lambda connection: connection.execute("PRAGMA integrity_check").fetchone()) == ("ok",)
    store.write([record()])
    assert store.read(lambda connection: connection.execute("SELECT count(*) FROM requests").fetchone())[0] >= 1001
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
