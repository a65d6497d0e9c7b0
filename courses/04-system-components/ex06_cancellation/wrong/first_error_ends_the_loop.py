"""Fails test_an_observer_that_fails_keeps_no_blocks: one `try` around the loop instead of one inside.

The observer's error is logged, and the answers after it keep their blocks for good.
"""


class Engine:
    def _drop(self, choices: list[Choice], reason: FinishReason) -> None:
        try:
            for choice in choices:
                if not choice.sequence.is_over:
                    self._finish(choice.sequence, reason)
        except Exception:
            log.exception("an observer failed when a request finished")
