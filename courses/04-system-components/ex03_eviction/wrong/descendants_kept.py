"""Fails test_what_is_lost_is_forgotten: only the evicted block is forgotten, not what went with it.

With hashes `lost` is always empty, and all is well. A radix tree gives an inner node's descendants back as free blocks.
"""


class Eviction:
    def evicted(self, block: int, lost: list[int]) -> None:
        ghosts = self.ghosts[block in self.reused_blocks]
        ghosts[self.key_of.pop(block)] = None
        if len(ghosts) > self.num_blocks:
            ghosts.popitem(last=False)
        self.reused_blocks.discard(block)
