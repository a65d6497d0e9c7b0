"""Fails test_a_known_block_is_cached_once_it_has_no_owner: a sequence that ends takes its blocks out of the cache.

It is how an engine without a prefix cache works. Here the next request with this prompt finds its blocks, which the
picture calls free.
"""


class Replay:
    def finish(self, event: Event) -> None:
        self.known -= set(self.tables.pop(event["id"], ()))
