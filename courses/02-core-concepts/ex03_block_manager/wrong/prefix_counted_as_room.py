"""Fails test_a_cached_prefix_is_no_room_for_the_rest: cached blocks of the prefix are counted as room for the rest.

Taking them up makes them owned, so they are no longer available. The sequence is admitted and then does not fit.
"""


class BlockManager:
    def admit(self, sequence: Sequence) -> bool:
        blocks = self.match(sequence)
        if self.num_blocks_for(len(sequence.tokens)) - len(blocks) > self.num_available:
            return False
        for block in blocks:
            self.share(block)
        sequence.table = blocks
        sequence.num_computed = len(blocks) * self.block_size
        return True
