"""The history on disk: chunks of samples at three resolutions, and a journal of what is in no chunk yet.

    journal    one row per target and second: the values that changed        → at each full minute, into
    level 0    1 s, chunks of 1 minute, kept for an hour                     → every 10 minutes, into
    level 1    10 s, chunks of 10 minutes, kept for a day                    → every hour, into
    level 2    1 minute, chunks of an hour, kept for 30 days

A coarser level ends up to one span before the present; readers take the rest from the finer one. See `thin` for the
samples that a coarser level keeps.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import orjson

from llm_monitor.history.chunk import Chunk, Ids, merge
from llm_monitor.history.database import HistoryError, connect, connect_reader, lock, used_bytes
from llm_monitor.history.levels import LEVELS, Level, to_ms
from llm_monitor.history.thin import is_counter, thin
from llm_monitor.series.selection import NAME, Floats, Labels, Matcher, Series

MAX_SERIES = 200_000
MAX_BYTES = 2**30
REFUSED = -1
"""Number of a series for which there is no room."""


class Entry(NamedTuple):
    """The values of a target that changed since its entry before, or all of them."""

    target: str
    time: int
    """Milliseconds."""
    is_full: bool
    ids: Ids
    values: Floats


class Store:
    """One writer, which can be another thread, and any number of readers."""

    def __init__(self, path: Path, levels: Sequence[Level] = LEVELS, max_series: int = MAX_SERIES) -> None:
        """Raises HistoryError."""
        self.path = path
        self.levels = tuple(levels)
        self._max_series = max_series
        self._writer = connect(path)
        self._lock = lock(path)
        self._reader = connect_reader(path)
        self._reading = Lock()
        self._ids: dict[Labels, int] = {}
        self._labels: dict[int, Labels] = {}
        self._by_name: dict[str, set[int]] = {}
        self._new: list[tuple[int, str, int]] = []
        self._next_id = 0
        for number, text in self._writer.execute("SELECT id, labels FROM series"):
            self._know(int(number), tuple((name, value) for name, value in orjson.loads(text)))
        self._closed: dict[int, int] = dict(self._writer.execute("SELECT level, time FROM closed"))

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        self._lock.close()

    @property
    def series(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """Bytes of the file's pages in use."""
        return used_bytes(self._writer)

    def closed(self, level: int) -> int:
        """Return the time in milliseconds up to which a level has chunks; 0 before its first."""
        return self._closed.get(level, 0)

    # --- write ----------------------------------------------------------------------------------------------------

    def ids_of(self, series: Iterable[Labels], now: int) -> Ids:
        """Return the numbers of series; new ones get theirs with the next write. REFUSED: there are too many."""
        found = []
        for labels in series:
            number = self._ids.get(labels, REFUSED)
            if number == REFUSED and len(self._ids) < self._max_series:
                number = self._next_id
                self._new.append((number, orjson.dumps(labels).decode(), now))
                self._know(number, labels)
            found.append(number)
        return np.array(found, np.int32)

    def name_of(self, number: int) -> str:
        return dict(self._labels[number])[NAME]

    def write_journal(self, entries: Iterable[Entry]) -> None:
        rows = [
            (entry.target, entry.time, entry.is_full, entry.ids.tobytes(), entry.values.tobytes()) for entry in entries
        ]
        with self._transaction():
            self._writer.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", rows)

    def read_journal(self) -> Iterator[Entry]:
        """Yield what is in no chunk yet, by target and time."""
        for target, time, is_full, ids, values in self._writer.execute("SELECT * FROM journal ORDER BY target, time"):
            yield Entry(target, time, bool(is_full), np.frombuffer(ids, np.int32), np.frombuffer(values))

    def write_minute(self, chunks: Iterable[Chunk], end: int) -> None:
        """Write all series' chunks up to `end`, by metric, and empty the journal up to there."""
        parts = list(chunks)
        encoded = self._by_metric(merge(parts), 0) if parts else []
        with self._transaction():
            self._writer.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?, ?)", encoded)
            self._writer.execute("DELETE FROM journal WHERE time <= ?", (end,))
            self._write_closed(0, end)
        self._closed[0] = end

    def compact(self, level: int) -> bool:
        """Make the level's next chunks if the finer level is far enough. Return whether there is more to do."""
        spec, finer = self.levels[level], level - 1
        begin = self.closed(level) or (self._first(finer) - 1) // spec.span * spec.span
        end = begin + spec.span
        if begin < 0 or end > self.closed(finer):
            return False
        rows: list[tuple[int, str, int, int, bytes]] = []
        seen: set[int] = set()
        for name in self._names(finer, begin, end):
            merged = merge(list(self._chunks(self._writer, finer, name, start=begin, end=end)))
            seen.update(merged.ids.tolist())
            rows += self._by_metric(thin(merged, spec.step, np.full(len(merged.ids), is_counter(name))), level)
        # After a pause of days there is nothing to compact: go on where the next chunk begins.
        following, limit = self._first(finer, end), self.closed(finer) // spec.span * spec.span
        end = max(end, min((following - 1) // spec.span * spec.span, limit) if following else limit)
        with self._transaction():
            self._writer.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?, ?)", rows)
            self._writer.executemany("UPDATE series SET seen = ? WHERE id = ?", [(end, number) for number in seen])
            self._write_closed(level, end)
        self._closed[level] = end
        return True

    def prune(self, now: int, max_bytes: int = MAX_BYTES) -> None:
        """Delete what is older than its level keeps, and the oldest of what is left while the file is too large."""
        last = len(self.levels) - 1
        for level, spec in enumerate(self.levels):
            oldest = now - spec.keep
            if level < last:
                oldest = min(oldest, self.closed(level + 1))
            self._writer.execute("DELETE FROM chunk WHERE level = ? AND end <= ?", (level, oldest))
        self._forget(now - self.levels[last].keep)
        for level in range(last, -1, -1):
            while self.size > max_bytes and (oldest := self._first(level)):
                spec = self.levels[level]
                self._writer.execute("DELETE FROM chunk WHERE level = ? AND end <= ?", (level, oldest + spec.span))
        self._writer.execute("PRAGMA incremental_vacuum(2000)").fetchall()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._writer, self._new)

    def _by_metric(self, chunk: Chunk, level: int) -> list[tuple[int, str, int, int, bytes]]:
        """Split a chunk by metric, and encode the parts."""
        names = np.array([self.name_of(number) for number in chunk.ids.tolist()], object)
        found = []
        for name in sorted(set(names.tolist())):
            part = chunk.rows(names == name)
            if len(part.times):
                found.append((level, name, int(part.times[0]), int(part.times[-1]), part.encode()))
        return found

    def _write_closed(self, level: int, time: int) -> None:
        self._writer.execute("INSERT OR REPLACE INTO closed VALUES (?, ?)", (level, time))

    def _first(self, level: int, after: int = 0) -> int:
        query = "SELECT min(end) FROM chunk WHERE level = ? AND end > ?"
        return int(self._writer.execute(query, (level, after)).fetchone()[0] or 0)

    def _names(self, level: int, start: int, end: int) -> list[str]:
        query = "SELECT DISTINCT name FROM chunk WHERE level = ? AND end > ? AND start <= ?"
        return [name for (name,) in self._writer.execute(query, (level, start, end))]

    def _forget(self, oldest: int) -> None:
        """Give up the numbers of series that have no sample left."""
        for (number,) in self._writer.execute("DELETE FROM series WHERE seen <= ? RETURNING id", (oldest,)).fetchall():
            labels = self._labels.pop(number)
            del self._ids[labels]
            self._by_name[dict(labels)[NAME]].discard(number)

    def _know(self, number: int, labels: Labels) -> None:
        self._ids[labels] = number
        self._labels[number] = labels
        self._by_name.setdefault(dict(labels)[NAME], set()).add(number)
        self._next_id = max(self._next_id, number + 1)

    # --- read -----------------------------------------------------------------------------------------------------

    def select(self, level: int, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        """Return the level's samples of start < time <= end, as a `Source` does. Raises HistoryError."""
        try:
            return self._select(level, matchers, to_ms(start), to_ms(end))
        except (sqlite3.Error, zlib.error, struct.error, ValueError) as error:
            raise HistoryError(f"the history at {self.path} cannot be read: {error}") from error

    def _select(self, level: int, matchers: Sequence[Matcher], first: int, last: int) -> list[Series]:
        found: list[Series] = []
        for name, wanted in self._matching(matchers).items():
            with self._reading:
                chunks = list(self._chunks(self._reader, level, name, start=first, end=last))
            parts = [part for chunk in chunks if len((part := chunk.rows(np.isin(chunk.ids, wanted))).times)]
            if parts:
                found += self._series_of(merge(parts))
        return found

    def _series_of(self, chunk: Chunk) -> Iterator[Series]:
        """Yield the series that have a sample. Those that have one at each time share the array of times."""
        shared, complete = chunk.times / 1000.0, np.all(chunk.mask, axis=1).tolist()
        for row, number in enumerate(chunk.ids.tolist()):
            kept = slice(None) if complete[row] else chunk.mask[row]
            values, labels = chunk.values[row, kept], self._labels.get(number)
            if labels is not None and not np.isnan(values).all():
                yield Series(labels, shared[kept], values)

    def _matching(self, matchers: Sequence[Matcher]) -> dict[str, Ids]:
        """Return the numbers of the series that match, by metric."""
        names = [matcher for matcher in matchers if matcher.name == NAME]
        exact = {matcher.value for matcher in names if matcher.operator == "="}
        others = [matcher for matcher in matchers if matcher.name != NAME]
        found = {}
        for name in exact or list(self._by_name):
            if all(matcher.matches(name) for matcher in names):
                numbers = [number for number in list(self._by_name.get(name, ())) if self._matches(number, others)]
                if numbers:
                    found[name] = np.array(numbers, np.int32)
        return found

    def _matches(self, number: int, matchers: Sequence[Matcher]) -> bool:
        labels = dict(self._labels.get(number, ()))  # the writer can forget a series at any time
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers)

    def _chunks(
        self, connection: sqlite3.Connection, level: int, name: str, *, start: int, end: int
    ) -> Iterator[Chunk]:
        """Yield a metric's chunks, cut to start < time <= end."""
        query = "SELECT data FROM chunk WHERE level = ? AND name = ? AND end > ? AND start <= ? ORDER BY end"
        for (data,) in connection.execute(query, (level, name, start, end)):
            chunk = Chunk.decode(data)
            a, b = np.searchsorted(chunk.times, (start, end), side="right")
            if b > a:
                yield Chunk(chunk.ids, chunk.times[a:b], chunk.values[:, a:b], chunk.mask[:, a:b])


class _Transaction:
    """All or nothing. It begins with the series that are new; they stay new if it fails."""

    def __init__(self, connection: sqlite3.Connection, new: list[tuple[int, str, int]]) -> None:
        self._connection = connection
        self._new = new

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT INTO series VALUES (?, ?, ?)", self._new)
        except BaseException:
            self._connection.rollback()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._connection.rollback()
            return
        try:
            self._connection.commit()
        except sqlite3.Error:
            self._connection.rollback()
            raise
        self._new.clear()
