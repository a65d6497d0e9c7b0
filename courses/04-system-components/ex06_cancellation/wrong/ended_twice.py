"""Fails test_an_answer_ends_once: answers that ended by themselves are ended again.

`Scheduler.finish` ignores the second call, and observers do not: the metrics count the answer as finished twice, once
with `stop` and once with `abort`.
"""


class Engine:
    def _drop(self, choices: list[Choice], reason: FinishReason) -> None:
        for choice in choices:
            try:
                self._finish(choice.sequence, reason)
            except Exception:
                log.exception("request %s: an observer failed when it finished", choice.sequence.request_id)
