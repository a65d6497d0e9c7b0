"""The head: all recent samples, in memory. Panels and alerts read it, and the history is written from it.

Memory is bounded by `max_series` x `seconds` x scrapes a second x 8 bytes, and an eighth more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock

from llm_monitor.series.block import Block, Frame
from llm_monitor.series.page import Description, Page
from llm_monitor.series.selection import Labels, Matcher, Series

MAX_SERIES = 40_000
MAX_SERIES_OF_TARGET = 5_000
MAX_FAMILIES = 5_000


class Head:
    """A `Source`. Series of one target that share their times have the same array of times, not a copy.

    `append` and `end` take a target's name, which is any text that tells it from others. A scrape, its report and the
    results of rules are targets of their own, since they have other times.
    """

    def __init__(
        self,
        seconds: float = 600.0,
        max_series: int = MAX_SERIES,
        max_series_of_target: int = MAX_SERIES_OF_TARGET,
    ) -> None:
        self.seconds = seconds
        self.max_series = max_series
        self.max_series_of_target = max_series_of_target
        self.dropped: Counter[str] = Counter()
        """Series that were refused, by target, since the start."""
        self._began = math.inf
        self._series = 0
        self._blocks: dict[str, Block] = {}
        self._metadata: dict[str, Description] = {}
        self._lock = Lock()

    @property
    def series(self) -> int:
        """Number of series in memory."""
        return self._series

    def begin(self, now: float) -> float:
        """Return the time after which all samples are in memory; infinite before the first."""
        return max(self._began, now - self.seconds)

    def series_of(self, target: str) -> int:
        block = self._blocks.get(target)
        return len(block.labels) if block else 0

    def refused_of(self, target: str) -> int:
        """Return the number of series of the target's last page for which there was no room."""
        block = self._blocks.get(target)
        return block.refused if block else 0

    @property
    def metadata(self) -> dict[str, Description]:
        """Kind and help of metric families, as the targets describe them."""
        return dict(self._metadata)

    def append(self, target: str, time: float, page: Page) -> None:
        """Write a page's samples at one time. A series that the target's page before had, and this has not, ends.

        Each append of a target has a later time than the one before. If not, the clock was set back, and the target's
        samples from the future are discarded.
        """
        with self._lock:
            self._began = min(self._began, time)
            block = self._blocks.get(target)
            if block is None:
                block = self._blocks[target] = Block(target, self.seconds)
            room = max(0, min(self.max_series - self._series, self.max_series_of_target - len(block.labels)))
            before, layout = len(block.labels), block.layout
            if refused := block.append(time, page, room):
                self.dropped[target] += refused
            if page.layout is not layout:
                self._describe(page.layout.metadata)
            self._series += len(block.labels) - before
            if len(block.labels) < before:
                self._reconsider()

    def end(self, target: str, time: float) -> None:
        """Write stale markers: the target is gone or did not answer. Ending it again changes nothing."""
        with self._lock:
            if block := self._blocks.get(target):
                block.end(time)

    def prune(self, now: float) -> None:
        """Discard targets that had no sample for the head's whole time."""
        with self._lock:
            old = [name for name, block in self._blocks.items() if block.last_time <= now - self.seconds]
            for name in old:
                self._series -= len(self._blocks.pop(name).labels)
                self.dropped.pop(name, None)
            if old:
                self._reconsider()

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        wanted = tuple(matchers)
        with self._lock:
            return [series for block in self._blocks.values() for series in block.select(wanted, start, end)]

    def frames(self, start: float, end: float) -> list[Frame]:
        """Return the samples of start < time <= end by target, as views. Targets without one are left out."""
        with self._lock:
            frames = [block.frame(start, end) for block in self._blocks.values()]
        return [frame for frame in frames if len(frame.times)]

    def labels(self) -> list[Labels]:
        """Return the labels of all series in memory."""
        with self._lock:
            return [labels for block in self._blocks.values() for labels in block.labels]

    def _describe(self, metadata: Mapping[str, Description]) -> None:
        for name, description in metadata.items():
            if len(self._metadata) < MAX_FAMILIES or name in self._metadata:
                self._metadata[name] = description

    def _reconsider(self) -> None:
        for block in self._blocks.values():
            if block.refused:
                block.forget_layout()
