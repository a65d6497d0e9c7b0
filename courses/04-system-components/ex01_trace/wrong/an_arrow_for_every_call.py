"""Fails test_a_diagram: each call is an arrow.

Six steps of one short answer already fill three pages. A diagram leaves out what repeats, and says how often it does.
"""


def diagram(calls: Iterable[Call]) -> str:
    calls = list(calls)
    participants = dict.fromkeys(["client", *(call.where for call in calls)])
    lines = ["sequenceDiagram", *(f"    participant {each}" for each in participants)]
    at = "client"
    for call in calls:
        lines.append(f"    {at}->>{call.where}: {call.name}")
        at = call.where
    return "\n".join(lines)
