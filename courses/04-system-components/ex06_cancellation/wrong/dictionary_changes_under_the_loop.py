"""Fails test_overdue_requests_are_aborted: the loop aborts while it walks over `_requests`.

Python notices: RuntimeError, dictionary changed size during iteration. It does so only after the first abort, so a test
in which nothing is overdue passes.
"""


class Engine:
    def abort_overdue(self, seconds: float, now: float) -> list[str]:
        overdue = []
        for request_id, choices in self._requests.items():
            if now - choices[0].sequence.arrival_time > seconds:
                self.abort_request(request_id)
                overdue.append(request_id)
        return overdue
