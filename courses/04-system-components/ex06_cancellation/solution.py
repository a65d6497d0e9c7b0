"""Cancellation in the engine: a request can end at any moment, and nothing of it stays behind."""

from __future__ import annotations

import logging
import time

from llm_engine.observers import invariants
from llm_engine.request.choice import Choice
from llm_engine.request.outputs import RequestOutput
from llm_engine.scheduler.overlap import InFlight
from llm_engine.scheduler.sequence import FinishReason

log = logging.getLogger(__name__)


class Engine:
    def abort_request(self, request_id: str) -> None:
        """Drop the request and free its blocks. Unknown and finished requests are ignored."""
        # region exercise: forget the request, and end its answers with FinishReason.ABORT
        self._drop(self._requests.pop(request_id, []), FinishReason.ABORT)
        # endregion

    def abort_overdue(self, seconds: float, now: float) -> list[str]:
        """Abort the requests that arrived more than `seconds` before `now`. Return their ids, oldest first.

        `now` is a time of the monotonic clock, as `Sequence.arrival_time` is.
        """
        # region exercise: find them all in `self._requests`, then abort them
        overdue = [
            request_id
            for request_id, choices in self._requests.items()
            if now - choices[0].sequence.arrival_time > seconds
        ]
        for request_id in overdue:
            self.abort_request(request_id)
        return overdue
        # endregion

    def _finish_step(self, flight: InFlight) -> list[RequestOutput]:
        """Read the step's tokens. A sequence that ended or was aborted in the meantime gets none."""
        step, sampled = flight.step, flight.draw.read()
        now = time.monotonic()
        for item in sampled:
            if item.place < item.sequence.num_tokens:
                item.sequence.token_ids[item.place : item.place + 1] = item.token_ids
        # region exercise: leave out the tokens of sequences that are over
        # stub: # not written yet: leave out the tokens of sequences that are over
        sampled = [item for item in sampled if not item.sequence.is_over]
        # endregion
        self.scheduler.commit(step, {item.sequence: item.num_rejected for item in sampled})
        if self.speculation is not None:
            self.speculation.observe(sampled)
        self._observers.computed(step, sampled, now)
        outputs = self._fail_broken(step)
        outputs += [output for item in sampled if (output := self._advance_or_fail(item, now))]
        if self.config.check_invariants:
            invariants.check(self.scheduler)
        return outputs

    def _drop(self, choices: list[Choice], reason: FinishReason) -> None:
        """Finish the answers that are still running. Their blocks are freed even if an observer fails."""
        # region exercise: `self._finish` each answer that is not over; log the error of one and go on with the next
        for choice in choices:
            if not choice.sequence.is_over:
                try:
                    self._finish(choice.sequence, reason)
                except Exception:
                    log.exception("request %s: an observer failed when it finished", choice.sequence.request_id)
        # endregion
