from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support_promql import Memory

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.results import HeadWriter
from llm_monitor.alerts.rules import Rules, parse_rules
from llm_monitor.alerts.settings import SloSettings
from llm_monitor.alerts.state import RESOLVED_RETENTION, Alert
from llm_monitor.alerts.store import NewerState, StateFile
from llm_monitor.promql import instant, parse
from llm_monitor.series import Matcher, Series
from llm_monitor.series.head import Head

DOWN = """
groups:
- name: targets
  rules:
  - alert: Down
    expr: up == 0
    for: 10s
    keep_firing_for: 5s
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.instance }} is down ({{ $value }})"}
"""


def rules(text: str = DOWN) -> Rules:
    return parse_rules(text, "rules.yaml", SloSettings())


def outage(begin: int = 10, end: int = 30, instance: str = "a:1") -> Memory:
    return Memory().add("up", [(t, float(not begin <= t < end)) for t in range(120)], instance=instance, job="engine")


def states(engine: AlertEngine, until: int, start: int = 0) -> dict[int, str]:
    """Evaluate each second and return the state at each second at which it changed."""
    changes: dict[int, str] = {}
    for at in range(start, until):
        engine.evaluate(at)
        alerts = engine.alerts()
        state = alerts[0].state if alerts else ""
        if state != next(reversed(changes.values()), ""):
            changes[at] = state
    return changes


def test_an_alert_is_pending_then_firing_then_resolved() -> None:
    engine = AlertEngine(rules(), outage())
    # It holds from 10 on, fires after its `for`, and ends 5 s after the condition did, which is at 30.
    assert states(engine, 60) == {10: "pending", 20: "firing", 35: "resolved"}
    (alert,) = engine.alerts()
    assert dict(alert.labels) == {"alertname": "Down", "instance": "a:1", "job": "engine", "severity": "critical"}
    assert (alert.since, alert.fired_at, alert.resolved_at) == (10, 20, 35)
    assert alert.annotations == {"summary": "a:1 is down (0)"}


def test_a_condition_that_ends_within_its_for_never_fires() -> None:
    assert states(AlertEngine(rules(), outage(10, 19)), 60) == {10: "pending", 19: ""}


def test_an_alert_that_comes_back_within_keep_firing_for_goes_on() -> None:
    memory = Memory().add("up", [(t, float(not (10 <= t < 30 or 33 <= t < 50))) for t in range(120)], instance="a")
    assert states(AlertEngine(rules(), memory), 80) == {10: "pending", 20: "firing", 55: "resolved"}


def test_a_resolved_alert_is_forgotten_in_the_end_and_can_fire_anew() -> None:
    engine = AlertEngine(rules(), outage())
    states(engine, 60)
    engine.evaluate(35 + RESOLVED_RETENTION)
    assert engine.alerts() == []


def test_alerts_are_written_as_series_and_end_with_the_alert() -> None:
    engine = AlertEngine(rules(), outage())
    found = {}
    for at in range(60):
        engine.evaluate(at)
        vector = instant(parse('ALERTS{alertname="Down"}'), engine.source, at)
        found[at] = [dict(labels)["alertstate"] for labels in vector.labels]
    assert found[9] == []
    assert found[10] == ["pending"]
    assert found[20] == ["firing"]
    assert found[34] == ["firing"]
    assert found[35] == []


def test_results_can_go_to_the_head() -> None:
    head = Head()
    engine = AlertEngine(rules(), outage(), write=HeadWriter(head).write)
    for at in range(60):
        engine.evaluate(at)
    series = head.select([Matcher("__name__", "=", "ALERTS")], 0, 60)
    found = {
        dict(each.labels)["alertstate"]: [t for t, v in zip(each.times, each.values, strict=True) if v == 1]
        for each in series
    }
    assert found == {"pending": list(range(10, 20)), "firing": list(range(20, 35))}


def test_later_rules_read_what_earlier_ones_record() -> None:
    text = """
groups:
- name: a
  rules:
  - {record: "job:down:count", expr: count by (job) (up == 0), labels: {by: rule}}
  - {alert: Many, expr: job:down:count >= 1}
- name: slow
  interval: 30s
  rules:
  - {record: "slow", expr: time()}
"""
    engine = AlertEngine(rules(text), outage())
    for at in range(12):
        engine.evaluate(at)
    assert [dict(alert.labels) for alert in engine.alerts()] == [{"alertname": "Many", "by": "rule", "job": "engine"}]
    (slow,) = engine.source.select([Matcher("__name__", "=", "slow")], -1, 100)
    assert slow.times.tolist() == [0]


def test_a_rule_in_error_keeps_its_states_and_says_why() -> None:
    memory = outage()
    text = DOWN.replace("up == 0", "up == 0 and on (job) (up * on (job) up < 2)")
    engine = AlertEngine(rules(text), memory)
    states(engine, 25)
    memory.add("up", [(25, 1), (40, 1)], instance="b", job="engine")
    engine.evaluate(26)
    (rule,) = engine.rules.alerts
    assert "several series match" in engine.health[id(rule)].error
    assert [alert.state for alert in engine.alerts()] == ["firing"]


def test_an_error_is_logged_once_and_gone_when_the_rule_works_again(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory().add("x", [(0, 1)], i="a").add("x", [(3, 1), (6, math.nan)], i="b").add("y", [(0, 1)])
    engine = AlertEngine(rules("groups: [{name: a, rules: [{alert: X, expr: y * on () x}]}]"), memory)
    errors = []
    for at in range(9):
        engine.evaluate(at)
        errors.append(bool(engine.health[id(engine.rules.alerts[0])].error))
    assert errors == [False] * 3 + [True] * 3 + [False] * 3
    assert len(caplog.records) == 1


class Broken:
    def select(self, *_: object) -> list[Series]:
        raise OSError("the disk is gone")


def test_a_source_that_fails_is_an_error_of_the_rule() -> None:
    engine = AlertEngine(rules(), Broken())
    engine.evaluate(1)
    assert "the disk is gone" in engine.health[id(engine.rules.alerts[0])].error


def test_a_clock_that_was_set_back_does_not_stop_the_alerts() -> None:
    engine = AlertEngine(rules(), outage(0, 100))
    engine.evaluate(3600)
    assert states(engine, 20) == {0: "pending", 10: "firing"}


async def test_slow_groups_run_in_a_thread() -> None:
    threads: dict[str, bool] = {}
    loop, both = asyncio.get_running_loop(), asyncio.Event()

    class Watched(Memory):
        def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
            threads[matchers[0].value] = threading.current_thread() is threading.main_thread()
            if len(threads) == 2:
                loop.call_soon_threadsafe(both.set)
            return super().select(matchers, start, end)

    text = """
groups:
- {name: slow, interval: 30s, rules: [{record: a, expr: slow_metric}]}
- {name: quick, rules: [{record: b, expr: quick_metric}]}
"""
    running = asyncio.create_task(AlertEngine(rules(text), Watched()).run())
    await asyncio.wait_for(both.wait(), 20)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert threads == {"quick_metric": True, "slow_metric": False}
    assert list(threads) == ["quick_metric", "slow_metric"]


def test_two_series_that_become_the_same_alert_are_an_error() -> None:
    text = "groups: [{name: a, rules: [{alert: X, expr: '{__name__=~\"x|y\"}'}]}]"
    memory = Memory().add("x", [(0, 1)]).add("y", [(0, 1)])
    engine = AlertEngine(rules(text), memory)
    engine.evaluate(1)
    assert "same labels" in engine.health[id(engine.rules.alerts[0])].error


class Told:
    def __init__(self) -> None:
        self.alerts: list[tuple[str, ...]] = []

    def update(self, alerts: list[Alert], at: float) -> None:
        self.alerts.append(tuple(alert.state for alert in alerts))


def test_a_silenced_alert_is_shown_and_nobody_is_notified() -> None:
    told = Told()
    engine = AlertEngine(rules(), outage(), notifier=told)
    silence = engine.silences.add([Matcher("instance", "=~", "a.*")], starts=15, ends=100, comment="known")
    for at in range(26):
        engine.evaluate(at)
    assert told.alerts[14] == ("pending",)
    assert told.alerts[25] == ()
    assert [alert.state for alert in engine.alerts()] == ["firing"]
    assert engine.silences.muted_by(engine.alerts()[0].labels, 25) == [silence.id]
    engine.silences.expire(silence.id, 26)
    engine.evaluate(26)
    assert told.alerts[26] == ("firing",)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_state_survives_a_restart(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "data" / "alerts.json"
    first = AlertEngine(rules(), outage(10, 90), now=clock, state=StateFile(path))
    silence = first.silences.add([Matcher("job", "=", "engine")], starts=0, ends=500, created_by="me")
    states(first, 25)
    clock.now = 60
    again = AlertEngine(rules(), outage(10, 90), now=clock, state=StateFile(path))
    again.evaluate(60)
    (alert,) = again.alerts()
    assert (alert.state, alert.since, alert.fired_at) == ("firing", 10, 20)
    assert list(again.silences) == [silence]


def test_time_without_a_monitor_does_not_count_towards_for(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "alerts.json"
    states(AlertEngine(rules(), outage(10, 90), now=clock, state=StateFile(path)), 16)
    clock.now = 60
    again = AlertEngine(rules(), outage(10, 90), now=clock, state=StateFile(path))
    # Saved at 10, the last full ten seconds: it was pending for at most 5 s of its 10.
    assert states(again, 80, start=60) == {60: "pending", 70: "firing"}


def test_alerts_of_rules_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    states(AlertEngine(rules(), outage(10, 90), state=StateFile(path)), 25)
    other = AlertEngine(rules(DOWN.replace("alert: Down", "alert: Other")), Memory(), state=StateFile(path))
    assert other.alerts() == []


def test_garbage_in_the_state_file_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    for content in ("no json", "[]", '{"version": 1, "alerts": [{"name": "Down"}, 5], "silences": [{}, null]}'):
        path.write_text(content)
        assert AlertEngine(rules(), Memory(), state=StateFile(path)).alerts() == []


def test_state_of_a_newer_version_is_refused_and_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "alerts.json"
    path.write_text('{"version": 99}')
    with pytest.raises(NewerState, match="99"):
        AlertEngine(rules(), Memory(), state=StateFile(path))
    assert path.read_text() == '{"version": 99}'


def test_a_full_disk_does_not_stop_the_alerts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    engine = AlertEngine(rules(), outage(10, 90), state=StateFile(blocked / "alerts.json"))
    assert states(engine, 40) == {10: "pending", 20: "firing"}
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


def test_not_a_number_is_a_condition_that_holds_as_in_prometheus() -> None:
    text = "groups: [{name: a, rules: [{alert: X, expr: x / x, annotations: {summary: '{{ $value }}'}}]}]"
    engine = AlertEngine(rules(text), Memory().add("x", [(0, 0)]))
    engine.evaluate(1)
    (alert,) = engine.alerts()
    assert math.isnan(alert.value)
    assert alert.annotations["summary"] == "NaN"
