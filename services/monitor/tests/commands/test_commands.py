from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.support_exporter import exporter

from llm_monitor import cli
from llm_monitor.alerts.rules import load_files
from llm_monitor.collect import target_of
from llm_monitor.collect.settings import CollectSettings
from llm_monitor.commands import check, record
from llm_monitor.history.recording import read_recording

ENGINE = b"""
vllm:num_requests_running{model_name="m",engine="0"} %d
vllm:num_requests_waiting{model_name="m",engine="0"} 0
vllm:kv_cache_usage_perc{model_name="m",engine="0"} 0.5
vllm:generation_tokens_total{model_name="m",engine="0"} 100
vllm:prompt_tokens_total{model_name="m",engine="0"} 100
"""


def status(*argv: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return int(caught.value.code or 0)


def test_commands_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([])
    assert "llm-monitor check URL" in capsys.readouterr().out
    assert status("nope") == 2
    assert "unknown command 'nope'" in capsys.readouterr().err


async def test_check_finds_what_is_wrong_and_names_it() -> None:
    async with exporter() as well, exporter() as stalled:
        well.body, stalled.body = ENGINE % 0, ENGINE % 4
        targets = [target_of(each) for each in (well.address, stalled.address, "127.0.0.1:9")]
        finding = await check.look(targets, 3.0)
    found = {(alert.name, dict(alert.labels)["instance"]) for alert in finding.alerts}
    assert found == {("EngineStalled", stalled.address), ("TargetDown", "127.0.0.1:9")}
    assert finding.values["running"] == {well.address: 0, stalled.address: 4}
    assert finding.values["KV %"] == {well.address: 50, stalled.address: 50}


async def test_check_of_targets_that_are_well() -> None:
    async with exporter() as well:
        well.body = ENGINE % 0
        assert (await check.look([target_of(well.address)], 0.5)).alerts == []


def test_check_prints_a_table_and_fails_if_something_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", "127.0.0.1:9", "--seconds", "0.3") == 1
    shown = capsys.readouterr().out
    assert "127.0.0.1:9" in shown
    assert "TargetDown (critical)" in shown
    assert status("check", "no target") == 2
    assert "'no target' is no target" in capsys.readouterr().err


async def test_record_writes_what_targets_export(tmp_path: Path) -> None:
    file = tmp_path / "incident.llmrec"
    async with exporter() as engine:
        engine.body = ENGINE % 3
        await record.record(file, CollectSettings(targets=[engine.address]), 1.0)
    _, moments = read_recording(file)
    assert any("num_requests_running" in str(moment) for moment in moments)
    with pytest.raises(FileExistsError):
        await record.record(file, CollectSettings(), 0.1)


def test_rules_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("rules") == 0
    assert "alerts" in capsys.readouterr().out
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("groups:\n- name: g\n  rules:\n  - {alert: A, expr: up ==}\n")
    assert status("rules", str(wrong)) == 2
    assert f"{wrong}:4:16" in capsys.readouterr().err


def test_rules_for_prometheus_are_the_same_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "monitor.yaml"
    config.write_text(yaml.safe_dump({"alerts": {"slo": {"objective": 0.95}}}))
    assert status("rules", "--prometheus", "--config", str(config)) == 0
    written = tmp_path / "rules.yaml"
    written.write_text(capsys.readouterr().out)
    assert "${slo" not in written.read_text()
    burn = next(rule for rule in load_files([written]) if rule.name == "TtftBurnRate")
    assert "> 0.72 and" in burn.expr.text
    config.write_text("alerts: {nope: 1}")
    assert status("rules", "--config", str(config)) == 2


def test_rules_run_promtools_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules, tests = tmp_path / "rules.yaml", tmp_path / "a.test.yaml"
    rules.write_text("groups: [{name: g, rules: [{alert: A, expr: x > 2, labels: {severity: warning}}]}]")
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "10s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [{"series": 'x{a="b"}', "values": "1+1x3 _ 9 stale"}],
                "alert_rule_test": [
                    {"eval_time": "10s", "alertname": "A"},
                    {
                        "eval_time": "20s",
                        "alertname": "A",
                        "exp_alerts": [{"exp_labels": {"a": "b", "severity": "warning"}}],
                    },
                ],
                "promql_expr_test": [
                    {"expr": "x", "eval_time": "50s", "exp_samples": [{"labels": 'x{a="b"}', "value": 9}]},
                    {"expr": "x", "eval_time": "1m", "exp_samples": []},
                ],
            }
        ],
    }
    tests.write_text(yaml.safe_dump(content))
    assert status("rules", "--test", str(tests)) == 0
    tests.write_text(tests.read_text().replace("severity: warning", "severity: critical"))
    assert status("rules", "--test", str(tests)) == 1
    assert "A at 20 s: expected" in capsys.readouterr().out
    tests.write_text("tests: 3")
    assert status("rules", "--test", str(tests)) == 2
