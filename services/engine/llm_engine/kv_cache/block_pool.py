"""Ownership of KV blocks. A block is in exactly one of three states:

    free     it has no owner, and its content is worthless
    cached   it has no owner, but the prefix cache knows its content and can find it again
    owned    it is in `ref_counts[block]` block tables

allocate: free -> owned, else cached -> owned (an eviction: the prefix cache forgets it and what depends on it)
share:    cached or owned -> owned, with one more reference
release:  one reference less; without the last one it is cached or free
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from llm_engine.scheduler.policies import EvictionPolicy, evict_least_recently_used


class BlockPool:
    """The state and the reference count of every KV block."""

    def __init__(
        self,
        num_blocks: int,
        on_evict: Callable[[int], Iterable[int]] = lambda block: (),
        evict: EvictionPolicy = evict_least_recently_used,
    ) -> None:
        self.num_blocks = num_blocks
        self.ref_counts = [0] * num_blocks
        self.free = list(range(num_blocks - 1, -1, -1))
        self.cached: OrderedDict[int, None] = OrderedDict()
        """Least recently used first."""
        self.num_evictions = 0
        self._on_evict = on_evict
        self._evict = evict

    @property
    def num_available(self) -> int:
        """The number of blocks that `allocate` can hand out now."""
        return len(self.free) + len(self.cached)

    @property
    def usage(self) -> float:
        """The share of blocks that are owned, 0 to 1."""
        return 1 - self.num_available / self.num_blocks

    def allocate(self) -> int:
        """Return a block with one reference. One must be available; the caller checks that."""
        if self.free:
            block = self.free.pop()
        else:
            block = self._evict(self.cached)
            del self.cached[block]
            for lost in self._on_evict(block):
                del self.cached[lost]
                self.free.append(lost)
            self.num_evictions += 1
        self.ref_counts[block] = 1
        return block

    def share(self, block: int) -> None:
        """Add a reference to a cached or owned block."""
        self.cached.pop(block, None)
        self.ref_counts[block] += 1

    def release(self, block: int, keep: bool) -> None:
        """Remove a reference. Without the last one the block is cached if `keep`, else free."""
        self.ref_counts[block] -= 1
        if self.ref_counts[block]:
            return
        if keep:
            self.cached[block] = None
        else:
            self.free.append(block)
