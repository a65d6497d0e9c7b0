"""Fails test_a_block_that_can_be_found_is_not_written_to: a block with one owner counts as private, known or not.

The owner writes over tokens that the prefix cache still promises to others.
"""


class BlockManager:
    def _is_shared(self, block: int) -> bool:
        return self.ref_counts[block] > 1
