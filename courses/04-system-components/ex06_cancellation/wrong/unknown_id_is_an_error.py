"""Fails test_unknown_and_finished_requests_are_ignored: an id that is not there raises KeyError.

A client hangs up while its last token is on the way: the request is finished when the abort arrives. In the engine's
thread an exception ends the engine, and with it everybody's requests.
"""


class Engine:
    def abort_request(self, request_id: str) -> None:
        self._drop(self._requests.pop(request_id), FinishReason.ABORT)
