"""Fails TestAnyOrder: a cached block that is taken up again stays in `cached`.

It is owned and can be evicted at the same time: under pressure its owner's context is overwritten.
"""


class BlockManager:
    def share(self, block: int) -> None:
        self.ref_counts[block] += 1
