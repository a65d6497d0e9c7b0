"""Fails test_a_sequence_that_pauses_keeps_its_blocks: the tables are those of the step's sequences, and no others.

A step has no tokens for a sequence when the budget is spent or its last token is under way. Its blocks stay its own.
"""


class Replay:
    def step(self, event: Event) -> None:
        self.known -= {*event["evicted"], *event["lost"]}
        self.num_evictions += len(event["evicted"])
        self.tables = {item["id"]: item["block_table"] for item in event["sequences"]}
        self.ends = {item["id"]: item["first_token"] + item["num_tokens"] for item in event["sequences"]}
        self._insert(event)
