"""The SQLite database of finished requests: written in batches, bounded by age and rows. Its errors stop no request.

WAL with synchronous=NORMAL: a committed batch survives the death of the process. The last few batches can be lost in a
power failure, which is acceptable for statistics. A file that is not a database, is damaged, or has another layout is
moved aside and replaced by a new one. Several processes can share a file.

Without a path SQLite's own temporary database is used. It lives in memory while it is small; beyond its cache it uses a
private temporary file that is deleted with the process. So memory stays flat.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from llm_gateway.sla.record import SlaRecord

BUSY_SECONDS = 1.0
"""Time that a write waits for another process before it fails and is retried later."""
TRIM_ROWS = 1000
"""Rows deleted in one transaction."""

MAX_TENANT = 64
"""Most characters of a tenant's name. A client without a key chooses it freely, even with bytes that are not text."""

LAYOUT = 1
"""Raise it when the columns change. The file keeps it as SQLite's user_version."""

FIELDS = get_type_hints(SlaRecord)
SQL_TYPES = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL", float | None: "REAL"}
COLUMNS = {
    **{"class" if name == "class_name" else name: SQL_TYPES[kind] for name, kind in FIELDS.items()},
    "verdict": SQL_TYPES[int],
}
"""SQL type by column: the fields of an SlaRecord, and its verdict."""
INSERT = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{column}' for column in COLUMNS)})"
TRIM_AGE = "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE time < ? ORDER BY time LIMIT ?)"
TRIM_ROW_COUNT = (
    "DELETE FROM requests WHERE id IN"
    " (SELECT id FROM requests WHERE id <= (SELECT max(id) FROM requests) - ? ORDER BY id LIMIT ?)"
)
"""Ids are sequential and only the oldest rows are deleted, so newest - oldest + 1 bounds the number of rows."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class SlaStore:
    """The database, for one thread at a time. It opens on first use, and again after a failure to open."""

    def __init__(self, path: str, keep_seconds: float, max_rows: int, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keep_seconds = keep_seconds
        self._max_rows = max_rows
        self._wall = wall
        self._connection: sqlite3.Connection | None = None

    def write(self, records: Sequence[SlaRecord]) -> None:
        """Write all of `records` or none. Then delete a few of the rows that are too old or too many.

        Raise sqlite3.Error if the disk is full, or if the file is locked for too long or cannot be opened.
        """
        rows = [_row(record) for record in records]
        self._sound(lambda connection: _insert(connection, rows))
        self._sound(lambda connection: self._trim(connection, len(rows) + TRIM_ROWS))

    def read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `question` on the rows. Raise sqlite3.Error."""
        return self._sound(question)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _sound(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the database. If the database is damaged, move it aside and do `work` on a new one."""
        try:
            return work(self._open())
        except sqlite3.DatabaseError as error:
            if not self._path or not _is_damage(error):
                raise
            self._move_aside(error)
            return work(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _move_aside(self, error: Exception) -> None:
        self.close()
        aside = f"{self._path}.damaged-{self._wall():.0f}"
        for suffix in ("", "-wal", "-shm"):
            file = Path(self._path + suffix)
            if file.exists():
                file.replace(aside + suffix)
        log.error("%s is not usable (%s); moved it to %s and started a new one", self._path, error, aside)

    def _trim(self, connection: sqlite3.Connection, budget: int) -> None:
        """Delete at most about `budget` rows, which is more than were added: so it catches up and never takes long."""
        for statement, bound in (TRIM_AGE, self._wall() - self._keep_seconds), (TRIM_ROW_COUNT, self._max_rows):
            deleted = TRIM_ROWS
            while deleted == TRIM_ROWS and budget > 0:
                with connection:
                    deleted = connection.execute(statement, (bound, TRIM_ROWS)).rowcount
                budget -= deleted


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and layout != LAYOUT:
        raise OtherLayout(f"its layout is {layout}, not {LAYOUT}")
    with connection:
        columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
        connection.execute(f"CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, {columns})")
        connection.execute("CREATE INDEX IF NOT EXISTS requests_by_time ON requests (time)")
        connection.execute(f"PRAGMA user_version={LAYOUT}")


class OtherLayout(sqlite3.DatabaseError):
    """A valid database with another layout."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, OtherLayout) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _insert(connection: sqlite3.Connection, rows: Sequence[dict[str, Any]]) -> None:
    with connection:
        connection.executemany(INSERT, rows)


def _row(record: SlaRecord) -> dict[str, Any]:
    """Return the value of each column."""
    return {
        **{name: getattr(record, name) for name in FIELDS},
        "class": record.class_name,
        "tenant": record.tenant[:MAX_TENANT].encode(errors="replace").decode(),
        "verdict": int(record.verdict()),
    }
