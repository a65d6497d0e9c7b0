"""A heap of waiting requests that others may take out of its middle.

A request that leaves is only unmarked (`queued` is False), here and in every other heap that holds it, and its entry is
dropped when it comes up. The heap is rebuilt once more than half of it is such: O(log n) each, amortised.
"""

from __future__ import annotations

import heapq

from llm_gateway.waiting import Waiting

COMPACT_ABOVE = 64
"""Heaps shorter than this are not worth rebuilding."""


class LazyHeap:
    """Smallest key first, then first pushed first. A request that comes back may be in it twice: the same entry."""

    __slots__ = ("_entries", "live")

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Waiting]] = []
        self.live = 0
        """Requests in it that still wait."""

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
        """To be called once for each request of this heap that was unmarked."""
        self.live -= 1
        if not self.live:
            self._entries.clear()
        elif len(self._entries) > COMPACT_ABOVE and self.live < len(self._entries) // 2:
            self._entries = list({entry[1]: entry for entry in self._entries if entry[2].queued}.values())
            heapq.heapify(self._entries)
