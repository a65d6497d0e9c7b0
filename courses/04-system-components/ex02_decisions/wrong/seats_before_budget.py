"""Fails test_the_limit_that_is_met_first: where two limits hold a request, the log names the later one.

Somebody raises max_num_seqs because the log says so, and nothing changes: the budget is used up before a seat matters.
"""


def why_held(step: Step, scheduler: Scheduler) -> Reason:
    if step.preempted:
        return Reason.PRESSURE
    if len(scheduler.running) >= scheduler.max_num_seqs:
        return Reason.SEATS
    return Reason.BUDGET if step.budget == 0 else Reason.MEMORY
