"""Fails test_a_known_block_is_cached_once_it_has_no_owner: every block that the prefix cache knows counts as cached.

A block becomes known as soon as it is full, while its sequence still runs. It can be shared then, but not evicted: the
server looks as if it had room that it has not.
"""


class Replay:
    def blocks(self) -> Blocks:
        owned = len(self.owners())
        cached = len(self.known)
        return Blocks(owned, cached, self.num_blocks - owned - cached, self.num_evictions)
