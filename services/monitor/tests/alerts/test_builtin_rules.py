"""The built-in rules' tests, `rules/*.test.yaml`, on this engine and, where it is installed, with promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from llm_monitor.alerts import unit_tests
from llm_monitor.alerts.prometheus import rule_file
from llm_monitor.alerts.rules import load
from llm_monitor.alerts.settings import AlertSettings

FILES = sorted((Path(__file__).parent / "rules").glob("*.test.yaml"))
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def laid_out(file: Path, folder: Path) -> Path:
    """Return a copy of a test file that lies next to the rules written for Prometheus."""
    (folder / "rules.yaml").write_text(rule_file(AlertSettings()))
    return Path(shutil.copy(file, folder))


def promtool(*arguments: str) -> None:
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_rules_on_this_engine(file: Path, tmp_path: Path) -> None:
    assert unit_tests.run_file(laid_out(file, tmp_path)) == []


@needs_promtool
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_rules_with_promtool(file: Path, tmp_path: Path) -> None:
    laid_out(file, tmp_path)
    promtool("test", "rules", str(tmp_path / file.name))


@needs_promtool
def test_rules_for_prometheus_pass_its_check(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rule_file(AlertSettings()))
    promtool("check", "rules", "--lint-fatal", str(path))


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    firing, quiet = set(), set()
    for file in FILES:
        for case in yaml.safe_load(file.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                (firing if check.get("exp_alerts") else quiet).add(check["alertname"])
    names = {rule.name for rule in load(AlertSettings()).alerts}
    assert firing == names
    assert quiet == names


def test_a_test_that_should_fail_fails(tmp_path: Path) -> None:
    file = tmp_path / "a.test.yaml"
    (tmp_path / "rules.yaml").write_text(rule_file(AlertSettings()))
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": 'up{job="engine", instance="a"}', "values": "0x10"}],
                "alert_rule_test": [{"eval_time": "30s", "alertname": "TargetDown"}],
            }
        ],
    }
    file.write_text(yaml.safe_dump(content))
    (failure,) = unit_tests.run_file(file)
    assert failure.startswith("test 1: TargetDown at 30 s: expected [], got")
