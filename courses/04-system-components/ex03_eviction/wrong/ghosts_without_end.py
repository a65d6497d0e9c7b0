"""Fails test_its_memory_is_bounded: the keys of all blocks that were ever evicted are kept.

The hit rates are fine. A server that evicts 10,000 blocks a second leaks a gigabyte in an hour.
"""


class Eviction:
    def evicted(self, block: int, lost: list[int]) -> None:
        ghosts = self.ghosts[block in self.reused_blocks]
        ghosts[self.key_of[block]] = None
        for gone in (block, *lost):
            self.key_of.pop(gone, None)
            self.reused_blocks.discard(gone)
