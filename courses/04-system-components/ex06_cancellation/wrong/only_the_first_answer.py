"""Fails test_all_answers_of_a_request_end: `abort_request` ends answer 0 and forgets the others.

With n = 1, which is nearly every request, nothing is wrong. With n = 3 two answers are computed to their end, and when
they produce a token, the engine no longer knows their request.
"""


class Engine:
    def abort_request(self, request_id: str) -> None:
        self._drop(self._requests.pop(request_id, [])[:1], FinishReason.ABORT)
