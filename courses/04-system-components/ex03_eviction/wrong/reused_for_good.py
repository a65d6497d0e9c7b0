"""Fails test_yesterdays_favourites_leave: a block that was reused once goes only when all others are gone.

The cache fills with what was popular at some time. What is popular now has never been found in the cache, because it is
evicted before it can be, and so it never earns a place.
"""


class Eviction:
    def __call__(self, cached: OrderedDict[int, None]) -> int:
        return next((block for block in cached if block not in self.reused_blocks), next(iter(cached)))

    def known(self, block: int, key: Hashable) -> None:
        self.key_of[block] = key
