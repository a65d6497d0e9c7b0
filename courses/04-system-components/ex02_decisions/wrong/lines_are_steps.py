"""Fails test_another_reason_is_logged: `waits` counts lines.

The log has one line for a wait of any length. Its duration is the distance to the sequence's next line.
"""


def waits(decisions: Ordered[Decision], num_steps: int) -> dict[str, dict[Reason, int]]:
    found: dict[str, dict[Reason, int]] = {}
    for decision in decisions:
        if decision.kind in (Kind.HELD, Kind.SKIPPED) and decision.reason is not None:
            counts = found.setdefault(decision.name, {})
            counts[decision.reason] = counts.get(decision.reason, 0) + 1
    return found
