"""Fails test_a_shared_block_is_one_block: the lengths of all tables are added up.

The sum is what memory would be needed without sharing. With many answers to one prompt it passes the size of the pool,
and the free blocks become negative.
"""


class Replay:
    def blocks(self) -> Blocks:
        owned = sum(len(table) for table in self.tables.values())
        cached = len(self.known - self.owners().keys())
        return Blocks(owned, cached, self.num_blocks - owned - cached, self.num_evictions)
