from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from llm_contract.errors import ErrorKind
from llm_monitor.alerts.rules import InvalidRules, load, load_files, parse_rules
from llm_monitor.alerts.settings import AlertSettings, SloSettings

RULE = "groups:\n- name: g\n  rules:\n  - {rule}\n"


@pytest.mark.parametrize(
    ("rule", "place", "says"),
    [
        ("{alert: A, exprr: up}", "4:16", "unknown key 'exprr'"),
        ("{alert: A}", "4:5", "missing key 'expr'"),
        ("{alert: A, expr: up ==}", "4:16", "invalid promql query, in 'up =='"),
        ("{alert: A, expr: 'rate(up)'}", "4:16", "expected type matrix"),
        ("{alert: A, expr: up, for: 10}", "4:26", "10 is no duration"),
        ("{alert: A, expr: up, for: soon}", "4:26", "'soon' is no duration"),
        ("{expr: up}", "4:5", "either `alert` or `record`"),
        ("{record: a, alert: A, expr: up}", "4:5", "either `alert` or `record`"),
        ("{record: a, expr: up, for: 5s}", "4:5", "no `for`"),
        ("{record: a-b, expr: up}", "4:6", "pattern"),
        ("{alert: A, expr: up, annotations: {summary: '{{ query `up` }}'}}", "4:40", "is not supported"),
        ("{alert: A, expr: 'up > ${slo.nope}'}", "4:28", "${slo.nope} is not known; there are ttft_seconds"),
        ("[", "5:1", "expected the node content"),
    ],
)
def test_an_error_names_line_and_column(rule: str, place: str, says: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        parse_rules(RULE.replace("{rule}", rule), "my.yaml", SloSettings())
    assert str(caught.value).startswith(f"my.yaml:{place}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "groups: 3", "a: b", "\x00"])
def test_what_is_no_rule_file_is_refused(text: str) -> None:
    with pytest.raises(InvalidRules, match=r"my\.yaml:1:1"):
        parse_rules(text, "my.yaml", SloSettings())


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRules, match="cannot be read"):
        load_files([tmp_path / "none.yaml"])


def test_two_groups_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("groups: [{name: targets, rules: []}]")
    with pytest.raises(InvalidRules, match="'targets'"):
        load(AlertSettings(rules=[path]))


def test_objectives_are_filled_in() -> None:
    rules = load(AlertSettings(slo=SloSettings(ttft_seconds=1.0, objective=0.995)))
    by_name = {rule.name: rule for rule in rules}
    assert 'le=~"1([.]0)?"' in by_name["slo:ttft_misses:ratio5m"].expr.text
    assert "slo:ttft_misses:ratio1h > 0.072" in by_name["TtftBurnRate"].expr.text
    assert "longer than 1 s" in by_name["TtftBurnRate"].annotations["summary"].text


def test_an_objective_that_no_bucket_measures_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"take one of 0.001, 0.005"):
        SloSettings(ttft_seconds=2.0)


def test_every_alert_names_its_target_and_a_runbook() -> None:
    for rule in load(AlertSettings()).alerts:
        assert "$labels." in rule.annotations["summary"].text, rule.name
        assert rule.annotations["runbook"].text.startswith("runbooks/"), rule.name
        assert rule.labels["severity"].text in ("critical", "warning")


def test_error_ratio_counts_the_outcomes_that_are_the_services_own_fault() -> None:
    rule = next(rule for rule in load(AlertSettings()).alerts if rule.name == "ErrorRatio")
    counted = set(rule.expr.text.split('outcome=~"')[1].split('"')[0].split("|"))
    assert counted == {kind.label for kind in ErrorKind if kind.type in ("server_error", "overloaded_error")}


def test_runbooks_have_the_address_of_the_configuration() -> None:
    rules = load(AlertSettings(runbooks="http://127.0.0.1:8001/runbooks/{name}.html"))
    assert rules.alerts[0].annotations["runbook"].text == "http://127.0.0.1:8001/runbooks/TargetDown.html"
    assert all(rule.annotations["runbook"].text.startswith("http://") for rule in rules.alerts)
    with pytest.raises(ValidationError, match=r"no URL with \{name\}"):
        AlertSettings(runbooks="http://127.0.0.1:8001/runbooks")
