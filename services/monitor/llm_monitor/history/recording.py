"""An incident in one file: all samples that the head gets.

    llm-monitor record incident.llmrec 127.0.0.1:8000 127.0.0.1:8080 --seconds 600

A file is a line of JSON, then records of a few seconds of one target each: the lengths of both parts, a header in JSON,
and a chunk. The last record of a process that was killed can be incomplete; it is left out.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import orjson

from llm_monitor.history.chunk import Chunk
from llm_monitor.series.block import Frame
from llm_monitor.series.head import Head
from llm_monitor.series.selection import Floats, Labels, labels_of

FORMAT, VERSION = "llm-monitor recording", 1
WRITE_SECONDS = 5.0
LATE_SECONDS = 1.5
"""Time that the recorder waits for the samples of slow targets."""
_LENGTHS = struct.Struct("<II")


class InvalidRecording(ValueError):
    """The file is none, or of a newer version."""


class Recorder:
    """Writes all samples that the head gets. `begin` can lie in the past, as far as the head reaches."""

    def __init__(
        self, path: Path, head: Head, *, begin: float | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._head = head
        self._now = now
        self._until = self._now() if begin is None else begin
        self._layouts: dict[str, object] = {}
        self._file = path.open("xb")
        self._file.write(orjson.dumps({"format": FORMAT, "version": VERSION, "begin": self._until}) + b"\n")

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await asyncio.to_thread(self.write, self._now() - LATE_SECONDS)
        finally:
            self.close()

    def write(self, until: float) -> None:
        """Write the samples that are not written yet, up to a time."""
        for frame in self._head.frames(self._until, until):
            self._write_frame(frame)
        self._until = max(until, self._until)
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self.write(self._now())
            self._file.close()

    def _write_frame(self, frame: Frame) -> None:
        header: dict[str, object] = {"target": frame.target}
        if self._layouts.get(frame.target) is not frame.labels:
            self._layouts[frame.target] = frame.labels
            header["labels"] = frame.labels
        times = np.rint(frame.times * 1000).astype(np.int64)
        rows = np.arange(len(frame.labels), dtype=np.int32)
        data = Chunk(rows, times, frame.values, np.ones(frame.values.shape, np.bool_)).encode()
        text = orjson.dumps(header)
        self._file.write(_LENGTHS.pack(len(text), len(data)) + text + data)


class Moment(NamedTuple):
    """The values of one target at one time; NaN where a series has no sample."""

    time: float
    target: str
    labels: tuple[Labels, ...]
    values: Floats


def read_recording(path: Path) -> tuple[float, Iterator[Moment]]:
    """Return when a recording begins, and its moments in order of time. Raises InvalidRecording."""
    file = path.open("rb")
    try:
        first = orjson.loads(file.readline(1000))
        known = isinstance(first, dict) and first["format"] == FORMAT
        version, begin = int(first["version"]), float(first["begin"])
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        file.close()
        raise InvalidRecording(f"{path} is no recording of the monitor")
    if version > VERSION:
        file.close()
        raise InvalidRecording(f"{path} was written by a newer monitor (version {version}, this one knows {VERSION})")
    return begin, _moments(file)


def _moments(file: BinaryIO) -> Iterator[Moment]:
    """Yield all moments. Each target's come in order; those of several targets are merged a few seconds at a time."""
    waiting: list[Moment] = []
    for found in _records(file):
        horizon = found[0].time - 2 * WRITE_SECONDS
        if len(waiting) > 1 and waiting[0].time <= horizon:
            waiting.sort(key=_time_of)
            ready = [moment for moment in waiting if moment.time <= horizon]
            yield from ready
            waiting = waiting[len(ready) :]
        waiting += found
    yield from sorted(waiting, key=_time_of)


def _records(file: BinaryIO) -> Iterator[list[Moment]]:
    labels: dict[str, tuple[Labels, ...]] = {}
    with file:
        while len(lengths := file.read(_LENGTHS.size)) == _LENGTHS.size:
            header_size, size = _LENGTHS.unpack(lengths)
            text, data = file.read(header_size), file.read(size)
            if len(data) < size:
                return
            header = orjson.loads(text)
            target = header["target"]
            if "labels" in header:
                labels[target] = tuple(labels_of(dict(series)) for series in header["labels"])
            chunk = Chunk.decode(data)
            times = (chunk.times / 1000).tolist()
            yield [Moment(at, target, labels[target], chunk.values[:, column]) for column, at in enumerate(times)]


def _time_of(moment: Moment) -> float:
    return moment.time
