"""Fails test_a_step_in_flight_gives_an_aborted_request_nothing: its tokens of that step are used as all others.

With overlap a step is launched before the last one is read, so a request can be aborted while the device computes it.
No client sees the tokens, but the metrics count them, and the trace shows a sequence that goes on after its end.
"""


class Engine:
    def _finish_step(self, flight: InFlight) -> list[RequestOutput]:
        step, sampled = flight.step, flight.draw.read()
        now = time.monotonic()
        for item in sampled:
            if item.place < item.sequence.num_tokens:
                item.sequence.token_ids[item.place : item.place + 1] = item.token_ids
        self.scheduler.commit(step, {item.sequence: item.num_rejected for item in sampled})
        if self.speculation is not None:
            self.speculation.observe(sampled)
        self._observers.computed(step, sampled, now)
        outputs = self._fail_broken(step)
        outputs += [output for item in sampled if (output := self._advance_or_fail(item, now))]
        if self.config.check_invariants:
            invariants.check(self.scheduler)
        return outputs
