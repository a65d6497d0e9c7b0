"""Fails test_an_evicted_block_is_forgotten: only the evicted block is forgotten, not those that depended on it.

A key covers all tokens before its block. In a radix tree the path to a block leads through the evicted one, so what
hangs on it is lost as well. As long as the end of a prefix is evicted before its beginning, nothing is lost, and the
mistake does not show.
"""


class Replay:
    def step(self, event: Event) -> None:
        for item in event["preempted"]:
            self.tables.pop(item["id"])
        self.known -= set(event["evicted"])
        self.num_evictions += len(event["evicted"])
        for item in event["sequences"]:
            self.tables[item["id"]] = item["block_table"]
            self.ends[item["id"]] = item["first_token"] + item["num_tokens"]
        self._insert(event)
