"""Fails test_a_preemption_names_who_needed_it: the victim is preempted, and in the same step held.

It is in the queue by then, so whoever walks over the queue finds it there. One step means one thing for one sequence.
"""


def decisions_of(index: int, step: Step, scheduler: Scheduler) -> list[Decision]:
    decisions = [_served(index, sequence, step) for sequence in step.num_tokens]
    for item in step.preempted:
        victim, cause = name_of(item.victim), name_of(item.needed_by)
        decisions.append(Decision(index, victim, Kind.PREEMPTED, num_lost=item.num_lost_tokens, because_of=cause))
    for sequence in scheduler.running:
        if sequence not in step.num_tokens:
            reason = Reason.ENDING if sequence.is_full else Reason.BUDGET
            decisions.append(Decision(index, name_of(sequence), Kind.SKIPPED, reason))
    for place, sequence in enumerate(scheduler.waiting):
        reason, head = why_held(step, scheduler), name_of(scheduler.waiting[0])
        if place == 0 or reason is Reason.PRESSURE:
            decisions.append(Decision(index, name_of(sequence), Kind.HELD, reason))
        else:
            decisions.append(Decision(index, name_of(sequence), Kind.HELD, Reason.QUEUE, because_of=head))
    return decisions
