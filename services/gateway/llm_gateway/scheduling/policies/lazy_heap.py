"""A heap of waiting requests that supports removal from its middle by lazy deletion.

A request that leaves is only unmarked (`queued` is False), in all heaps that hold it. Its entry is dropped when it
reaches the top. The heap is rebuilt when more than half of its entries are stale: O(log n) per removal, amortised.
"""

from __future__ import annotations

import heapq

from llm_gateway.waiting import Waiting

COMPACT_ABOVE = 64
"""Heaps shorter than this are not worth rebuilding."""


class LazyHeap:
    """A heap by key, then by order of the first push. A request that returns can have two equal entries."""

    __slots__ = ("_entries", "live")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Waiting]] = []
        self.live = 0
        """Number of entries whose requests still wait."""

    def push(self, key: float, request: Waiting) -> None:
        heapq.heappush(self._entries, (key, request.order, request))
        self.live += 1

    def peek(self) -> Waiting | None:
        entries = self._entries
        while entries:
            request = entries[0][2]
            if request.queued:
                return request
            heapq.heappop(entries)
        return None

    def removed(self) -> None:
        """Count one unmarked request. Call it once for each."""
        self.live -= 1
        if not self.live:
            self._entries.clear()
        elif len(self._entries) > COMPACT_ABOVE and self.live < len(self._entries) // 2:
            self._entries = list({entry[1]: entry for entry in self._entries if entry[2].queued}.values())
            heapq.heapify(self._entries)
