"""Fails test_a_block_stays_owned_until_its_last_reference_goes: the first owner to end takes the block from all others.

It is the classic of reference counting: right for every request alone, wrong as soon as two share a prompt.
"""


class BlockManager:
    def release(self, block: int) -> None:
        self.ref_counts[block] = 0
        if block in self.key_of:
            self.cached[block] = None
        else:
            self.free.append(block)
