"""The history's file: an SQLite database in WAL mode, and the check that a file is one that this version can use.

A commit is in the WAL before the next one begins, so killing the process loses no commit. Power that fails can lose
the last seconds, since only checkpoints wait for the disk (`synchronous = NORMAL`).
"""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path
from typing import BinaryIO

APPLICATION_ID = 0x4C4D4D48  # "LMMH"
VERSION = 1
BUSY_SECONDS = 5.0

SCHEMA = f"""
CREATE TABLE series (id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL);
CREATE TABLE journal (
    target TEXT NOT NULL, time INTEGER NOT NULL, is_full INTEGER NOT NULL, ids BLOB NOT NULL, numbers BLOB NOT NULL
);
CREATE TABLE chunk (
    level INTEGER NOT NULL, name TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE INDEX chunk_by_name ON chunk (level, name, end);
CREATE INDEX chunk_by_time ON chunk (level, end);
CREATE TABLE closed (level INTEGER PRIMARY KEY, time INTEGER NOT NULL);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


class HistoryError(Exception):
    """The file cannot be used. The message says why, and what to do."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, or create it. Raises HistoryError. A file of a newer version, or not ours, stays as it is."""
    if not path.parent.is_dir():
        raise HistoryError(f"{path}: the folder is missing; make it, or name another file")
    is_new = not path.exists() or path.stat().st_size == 0
    if not is_new:
        _check(path)
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        if is_new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 8388608")
    except sqlite3.Error as error:
        raise HistoryError(f"{path}: {error}; move the file away to begin a new history") from error
    return connection


def lock(path: Path) -> BinaryIO:
    """Return a file that is locked while it is open. Raises HistoryError if another monitor writes this history.

    It is a file of its own: closing the database's file would release the locks that SQLite has on it.
    """
    file = path.with_name(f"{path.name}.lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise HistoryError(f"another monitor writes the history at {path}; name another file") from None
    return file


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a second connection, which cannot write."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    return connection


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of all pages in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _check(path: Path) -> None:
    """Read the header alone, since SQLite would write files next to it: https://www.sqlite.org/fileformat.html"""
    with path.open("rb") as file:
        header = file.read(100)
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    if not header.startswith(b"SQLite format 3\x00") or application != APPLICATION_ID:
        raise HistoryError(f"{path} is no history of the monitor; name another file")
    if version > VERSION:
        raise HistoryError(
            f"{path} was written by a newer monitor (version {version}, this one knows {VERSION}); "
            "use that monitor, or name another file"
        )
