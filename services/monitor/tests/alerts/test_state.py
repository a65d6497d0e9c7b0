from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from llm_monitor.alerts.rules import Rule
from llm_monitor.alerts.state import RESOLVED_RETENTION, Alert


def fires(holds: list[bool], at: int, hold: int, keep: int) -> bool:
    """Say by its definition whether an alert fires: `hold` seconds of its condition, at most `keep` seconds ago."""
    if holds[at]:
        begin = at - len(list(itertools.takewhile(bool, holds[at::-1]))) + 1
        return at - begin >= hold or (begin > 0 and fires(holds, begin - 1, hold, keep))
    end = at - len(list(itertools.takewhile(lambda each: not each, holds[at::-1])))
    return end >= 0 and at - end - 1 < keep and fires(holds, end, hold, keep)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 8), st.integers(0, 8))
def test_an_alert_fires_exactly_as_defined(holds: list[bool], hold: int, keep: int) -> None:
    rule = Rule.model_validate({"alert": "A", "expr": "up == 0", "for": f"{hold}s", "keep_firing_for": f"{keep}s"})
    alert: Alert | None = None
    for at, holding in enumerate(holds):
        if holding:
            if alert is None or not alert.active:
                alert = Alert(name="A", labels=(), since=at, value=0)
            alert.holds(rule, at, 0)
        elif alert is not None and not alert.ended(rule, at):
            alert = None
        assert (alert is not None and alert.state == "firing") == fires(holds, at, hold, keep)


def test_an_alert_is_the_same_after_dump_and_load() -> None:
    alert = Alert(name="A", labels=(("a", "b"),), since=1, value=2, state="firing", fired_at=3, notified=True)
    assert Alert.load(alert.dump()) == alert


def test_a_resolved_alert_is_kept_for_a_while() -> None:
    rule = Rule.model_validate({"alert": "A", "expr": "up == 0"})
    alert = Alert(name="A", labels=(), since=0, value=0)
    alert.holds(rule, 0, 0)
    assert alert.ended(rule, 10)
    assert (alert.state, alert.resolved_at) == ("resolved", 10)
    assert alert.ended(rule, 9 + RESOLVED_RETENTION)
    assert not alert.ended(rule, 10 + RESOLVED_RETENTION)
