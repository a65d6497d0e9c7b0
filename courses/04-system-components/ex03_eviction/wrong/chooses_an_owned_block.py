"""Fails test_only_a_cached_block_is_chosen: the choice is among all known blocks, and some of these have an owner.

The pool raises KeyError if you are lucky. A pool without that check would hand out a block that a sequence reads.
"""


class Eviction:
    def __call__(self, cached: OrderedDict[int, None]) -> int:
        fresh = [block for block in self.key_of if block not in self.reused_blocks]
        return fresh[0] if fresh else next(iter(cached))
