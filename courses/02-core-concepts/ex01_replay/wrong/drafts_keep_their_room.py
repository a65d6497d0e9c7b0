"""Fails test_rejected_drafts_give_their_blocks_back: a result only makes blocks known.

A step with drafts takes room for all of them before it knows which are right. The picture is too full from the first
rejection until the sequence's next step, which happens to bring a new table.
"""


class Replay:
    def result(self, event: Event) -> None:
        self._insert(event)
