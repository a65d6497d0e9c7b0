"""Fails test_a_preempted_sequence_owns_nothing: preemption is taken for a pause.

A preempted sequence will run again, so its table stays. Its blocks have gone to the sequence that needed room, and the
picture shows two owners for a block that was never shared.
"""


class Replay:
    def step(self, event: Event) -> None:
        self.known -= {*event["evicted"], *event["lost"]}
        self.num_evictions += len(event["evicted"])
        for item in event["sequences"]:
            self.tables[item["id"]] = item["block_table"]
            self.ends[item["id"]] = item["first_token"] + item["num_tokens"]
        self._insert(event)
