"""Fails test_a_lone_prompt_is_not_cut: every running sequence counts as a decode, half-computed prompts included.

A prompt that is computed in chunks runs, and no reader waits for its next token. It limits itself.
"""


class Scheduler:
    def schedule(self) -> Step:
        most = prompt_budget(len(self.running), COST, TARGET_MS)
        kept = 0 if most is None else max(0, self.max_num_batched_tokens - len(self.running) - most)
        step = Step(self.max_num_batched_tokens - kept)
        self._schedule_running(step)
        if not step.preempted:
            self._schedule_waiting(step)
        step.budget += kept
        step.copies = self.kv_cache.take_copies()
        return step
