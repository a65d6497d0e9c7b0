"""Fails test_a_prefix_outlives_its_continuation: blocks are released from the table's beginning.

The beginning becomes the least recently used, so the part that others could share is evicted first, and the rest, which
cannot be found without it, fills the cache.
"""


class BlockManager:
    def finish(self, sequence: Sequence) -> None:
        for block in sequence.table:
            self.release(block)
        sequence.table = []
        sequence.num_computed = 0
