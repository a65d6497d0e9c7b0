"""Fails test_the_books_balance: the step's budget is made smaller, and what was kept back never returns to it.

`Step.budget` says how many tokens are still free; with the tokens of the step it must add up to max_num_batched_tokens.
The trace and the invariants read it, and an operator would see a budget that is always used up.
"""


class Scheduler:
    def schedule(self) -> Step:
        decodes = sum(1 for each in self.running if each.num_uncomputed_tokens == 1 and not each.is_full)
        most = prompt_budget(decodes, COST, TARGET_MS)
        step = Step(self.max_num_batched_tokens if most is None else min(self.max_num_batched_tokens, decodes + most))
        self._schedule_running(step)
        if not step.preempted:
            self._schedule_waiting(step)
        step.copies = self.kv_cache.take_copies()
        return step
