"""Fails test_conversations_do_not_suffer: half of the cache is for reused blocks, on every workload.

A conversation's last turn is never reused before it is needed, so here recency is right and reuse is wrong. No fixed
share suits both this and a scan: the policy has to find out, by the mistakes that it makes.
"""


class Eviction:
    def known(self, block: int, key: Hashable) -> None:
        self.key_of[block] = key
