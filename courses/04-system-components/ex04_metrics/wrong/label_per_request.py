"""Fails test_a_thousand_requests_make_no_new_series: the counter of ended requests carries the request's id.

Each label value is a series that Prometheus keeps. Ids belong into logs and traces; a metric counts.
"""


class StepMetrics:
    def finished(self, sequence: Sequence) -> None:
        assert sequence.finish_reason is not None
        self._requests.labels(f"{sequence.finish_reason.value} {sequence.request_id}").inc()
