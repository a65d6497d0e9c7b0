"""Ownership of KV blocks. A block is in exactly one of three states:

    free     nobody owns it and what it holds is worth nothing
    cached   nobody owns it, but its content is known to the prefix cache and may be taken up again
    owned    `ref_counts[block]` block tables name it

allocate: free -> owned, else cached -> owned (evicted: the prefix cache forgets it, and what is worthless without it)
share:    cached or owned -> owned, one reference more
release:  one reference less; the last one makes it cached or free
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from llm_engine.scheduler.policies import EvictionPolicy, evict_least_recently_used


class BlockPool:
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
        """Blocks that `allocate` could hand out now."""
        return len(self.free) + len(self.cached)

    @property
    def usage(self) -> float:
        """Owned blocks over all blocks, 0 to 1."""
        return 1 - self.num_available / self.num_blocks

    def allocate(self) -> int:
        """A block with one reference. The caller has made sure that one is available."""
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
        """One reference more to a cached or owned block."""
        self.cached.pop(block, None)
        self.ref_counts[block] += 1

    def release(self, block: int, keep: bool) -> None:
        """One reference less; the last one makes the block cached if `keep`, else free."""
        self.ref_counts[block] -= 1
        if self.ref_counts[block]:
            return
        if keep:
            self.cached[block] = None
        else:
            self.free.append(block)
