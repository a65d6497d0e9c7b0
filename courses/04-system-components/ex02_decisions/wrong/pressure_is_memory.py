"""Fails test_none_is_admitted_under_pressure: a preemption is taken for a lack of memory.

The victim's blocks are free by now, so the next request might well fit. The scheduler does not even ask: admitting it
would fill the memory that the victim needs to come back, and the two would preempt each other in turn.
"""


def why_held(step: Step, scheduler: Scheduler) -> Reason:
    if step.budget == 0:
        return Reason.BUDGET
    return Reason.SEATS if len(scheduler.running) >= scheduler.max_num_seqs else Reason.MEMORY
