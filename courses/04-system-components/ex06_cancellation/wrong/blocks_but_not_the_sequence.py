"""Fails test_a_running_request_gives_its_blocks_back: blocks are released, and the sequence stays in its list.

The next step schedules it again, and it takes new blocks: an abort that only looks like one. The scheduler owns the
lists, so ending a sequence goes through `Scheduler.finish`.
"""


class Engine:
    def _drop(self, choices: list[Choice], reason: FinishReason) -> None:
        for choice in choices:
            if not choice.sequence.is_over:
                self.kv_cache.release(choice.sequence)
                choice.sequence.finish_reason = reason
                self._observers.finished(choice.sequence)
