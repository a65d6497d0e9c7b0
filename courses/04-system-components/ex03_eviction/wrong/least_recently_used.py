"""Fails test_a_scan_does_not_flush_the_cache: the longest unused block goes, whatever it is.

It is what ships. Two or three long documents empty the cache, and nothing of them is ever found again.
"""


class Eviction:
    def __call__(self, cached: OrderedDict[int, None]) -> int:
        return next(iter(cached))
