"""Fails test_the_next_content_earns_nothing: the policy remembers numbers of blocks, and a number outlives its content.

After a while every block has been reused at some time, by some content, and the policy is LRU with more work.
"""


class Eviction:
    def evicted(self, block: int, lost: list[int]) -> None:
        ghosts = self.ghosts[block in self.reused_blocks]
        ghosts[self.key_of[block]] = None
        if len(ghosts) > self.num_blocks:
            ghosts.popitem(last=False)
        for gone in (block, *lost):
            self.key_of.pop(gone, None)
