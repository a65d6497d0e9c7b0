"""An incident in one file: all samples of the head, and how to live through them again.

    recorder = Recorder(Path("incident.llmrec"), head)      # next to a collector
    await recorder.run()

    replay = Replay(Path("incident.llmrec"), Head())        # instead of a collector
    await replay.run()

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

from llm_contract import monitor_metrics as names
from llm_monitor.collect.scraper import REPORT_SUFFIX
from llm_monitor.collect.targets import TargetState
from llm_monitor.history.chunk import Chunk
from llm_monitor.series.block import Frame
from llm_monitor.series.head import Head
from llm_monitor.series.page import Layout, Page
from llm_monitor.series.selection import NAME, Floats, Labels, labels_of

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


class Replay:
    """A recording in place of a `Collector`. Its samples come as they came, at the same distances in time.

    The recording begins when `run` does. At another speed than 1, the others have to use its clock, `now`.
    """

    def __init__(self, path: Path, head: Head, *, speed: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        """Raises InvalidRecording."""
        self.head = head
        self._begin, self._recorded = read_recording(path)
        self._speed = speed
        self._clock = clock
        self._started = clock()
        self._callbacks: list[Callable[[float], None]] = []
        self._layouts: dict[tuple[str, bytes], tuple[object, Layout]] = {}
        self._states: dict[str, TargetState] = {}

    def on_cycle(self, callback: Callable[[float], None]) -> None:
        """Call `callback` with the time after the samples of each cycle."""
        self._callbacks.append(callback)

    def states(self) -> list[TargetState]:
        return list(self._states.values())

    def now(self) -> float:
        """Return the time in the replay."""
        return self._started + (self._clock() - self._started) * self._speed

    async def run(self) -> None:
        """Replay to the end, then end all series."""
        self._started = self._clock()
        at, targets = self._started, set()
        for moment in self._recorded:
            time_of_moment = round(self._started + moment.time - self._begin, 3)
            if time_of_moment != at:
                self._tell(at)
                at = time_of_moment
                await asyncio.sleep(max(0.0, (at - self.now()) / self._speed))
            targets.add(moment.target)
            self._append(at, moment)
        self._tell(at)
        for target in targets:
            self.head.end(target, at + 0.001)

    def _append(self, at: float, moment: Moment) -> None:
        live = ~np.isnan(moment.values)
        if not live.any():
            self.head.end(moment.target, at)
            return
        key = (moment.target, np.packbits(live).tobytes())
        known = self._layouts.get(key)
        if known is None or known[0] is not moment.labels:
            layout = Layout(
                tuple(labels for labels, is_live in zip(moment.labels, live.tolist(), strict=True) if is_live)
            )
            self._layouts[key] = known = moment.labels, layout
        page = Page(known[1], moment.values[live])
        self.head.append(moment.target, at, page)
        self._note(at, moment.target, page)

    def _note(self, at: float, target: str, page: Page) -> None:
        """Update the state of a target from the report of its scrape."""
        if not target.endswith(REPORT_SUFFIX):
            return
        labels = dict(page.layout.labels[0])
        series = zip(page.layout.labels, page.values.tolist(), strict=True)
        reported = {dict(one)[NAME]: value for one, value in series}
        up = reported.get(names.UP.name) == 1
        self._states[target] = TargetState(
            url=target.removesuffix(REPORT_SUFFIX),
            job=labels.get("job", ""),
            instance=labels.get("instance", ""),
            labels={name: text for name, text in labels.items() if name not in (NAME, "job", "instance")},
            up=up,
            error="" if up else "it was down in the recording",
            last_scrape=at,
            duration=reported.get(names.SCRAPE_DURATION.name, 0.0),
            samples=int(reported.get(names.SCRAPE_SAMPLES.name, 0)),
        )

    def _tell(self, at: float) -> None:
        for callback in self._callbacks:
            callback(at)
