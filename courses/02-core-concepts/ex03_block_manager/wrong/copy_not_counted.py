"""Fails test_a_copy_counts_as_a_block: the room is counted without the block that the copy needs.

`grow` says yes, and the allocation fails halfway, with the block table half changed.
"""


class BlockManager:
    def grow(self, sequence: Sequence, num_tokens: int) -> list[Copy] | None:
        missing = self.num_blocks_for(sequence.num_computed + num_tokens) - len(sequence.table)
        if missing > self.num_available:
            return None
        copies: list[Copy] = []
        if sequence.num_computed % self.block_size and self._is_shared(sequence.table[-1]):
            source, target = sequence.table[-1], self.allocate()
            copies.append(Copy(source, target))
            sequence.table[-1] = target
            self.release(source)
        sequence.table += [self.allocate() for _ in range(missing)]
        return copies
