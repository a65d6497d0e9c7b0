"""Success criteria and deliverables: ticked by the page, by the exercise runner, or by hand."""

from __future__ import annotations

from llm_course import syllabus
from llm_course.errors import UsageError
from llm_course.progress.log import Event, Log

DONE = {"criterion": "met", "deliverable": "filled"}
WITHDRAWN = "withdrawn"


def mark(log: Log, key: str, done: bool = True) -> Event | None:
    """Tick a criterion ("2/3") or a deliverable ("2/block-manager"), or take the tick back.

    Return None if that is how it stands already; UsageError if the syllabus has no such key.
    """
    kind = kind_of(key)
    if (key in marked(log, kind)) == done:
        return None
    return log.add(kind, key, event=DONE[kind] if done else WITHDRAWN)


def marked(log: Log, kind: str) -> set[str]:
    """Return the keys whose last event says that they are done."""
    last = {event.key: event.facts.get("event") for event in log.of(kind)}
    return {key for key, event in last.items() if event == DONE[kind]}


def kind_of(key: str) -> str:
    for module in syllabus.load().modules:
        if key in [criterion.key for criterion in module.criteria]:
            return "criterion"
        if key in [deliverable.key for deliverable in module.deliverables]:
            return "deliverable"
    raise UsageError(f"the syllabus has no criterion or deliverable {key!r}; ./lab progress MODULE lists them")
