"""Fails test_an_id_can_be_used_again: the request stays in `_requests` after its end.

Each abort leaks a few kilobytes, and a client that retries with its own id is refused: the request is "already
running".
"""


class Engine:
    def abort_request(self, request_id: str) -> None:
        self._drop(self._requests.get(request_id, []), FinishReason.ABORT)
