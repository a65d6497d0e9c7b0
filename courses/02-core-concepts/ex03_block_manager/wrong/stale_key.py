"""Fails test_an_evicted_block_is_forgotten: eviction hands the block out and leaves its key behind.

A later request with the old prefix finds the block, and reads another sequence's keys and values. Nothing crashes; the
answers are wrong, and only for requests whose prefix was evicted.
"""


class BlockManager:
    def allocate(self) -> int:
        if self.free:
            block = self.free.popleft()
        else:
            block, _ = self.cached.popitem(last=False)
            self.num_evictions += 1
        self.ref_counts[block] = 1
        return block
