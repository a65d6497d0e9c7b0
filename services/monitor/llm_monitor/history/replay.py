"""Live through a recording again.

replay = Replay(Path("incident.llmrec"), Head())        # instead of a collector
await replay.run()
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llm_contract import monitor_metrics as names
from llm_monitor.collect.scraper import REPORT_SUFFIX
from llm_monitor.collect.targets import TargetState
from llm_monitor.history.recording import Moment, read_recording
from llm_monitor.series.head import Head
from llm_monitor.series.page import Layout, Page
from llm_monitor.series.selection import NAME


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
