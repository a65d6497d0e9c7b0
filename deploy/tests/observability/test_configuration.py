"""The configuration of Prometheus, Alertmanager and Grafana: valid, up to date, and about the targets that exist."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_deploy import paths
from llm_deploy.cli import main
from llm_deploy.observability import generate
from llm_monitor.alerts import AlertSettings, load

PROMETHEUS = paths.DEPLOY / "observability" / "prometheus"
ALERTMANAGER = paths.DEPLOY / "observability" / "alertmanager" / "alertmanager.yml"
GRAFANA = paths.DEPLOY / "observability" / "grafana"
CONFIGS = ("prometheus.yml", "plain.yml")
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")
amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="amtool is missing: apt-get install prometheus-alertmanager"
)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_generated_files_say_what_the_monitors_rules_and_boards_say() -> None:
    assert generate.outdated() == [], "./lab observability writes them"


def test_check_names_an_outdated_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generate, "outdated", lambda: ["rules/llm.yml"])
    assert main(["observability", "--check"]) == 1
    assert capsys.readouterr().err == "lab: outdated: rules/llm.yml; ./lab observability writes them\n"


@promtool
@pytest.mark.parametrize("name", CONFIGS)
def test_promtool_accepts(name: str) -> None:
    # Secrets are mounted where Prometheus runs, so only the syntax is checked of the file that names them.
    only = ["--syntax-only"] if "credentials_file" in (PROMETHEUS / name).read_text() else []
    subprocess.run(["promtool", "check", "config", *only, PROMETHEUS / name], check=True, capture_output=True)
    subprocess.run(["promtool", "check", "rules", generate.RULES], check=True, capture_output=True)


@amtool
def test_amtool_accepts_and_routes_by_severity() -> None:
    config = str(ALERTMANAGER)
    subprocess.run(["amtool", "check-config", config], check=True, capture_output=True)
    route = ["amtool", "config", "routes", "test", f"--config.file={config}"]
    for severities, receiver in (("severity=critical", "oncall"), ("severity=warning", "tickets")):
        done = subprocess.run([*route, severities], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == receiver


@pytest.mark.parametrize("name", CONFIGS)
def test_prometheus_scrapes_often_enough_for_the_rules(name: str) -> None:
    config = read(PROMETHEUS / name)
    assert config["global"]["scrape_interval"] == "5s"
    assert {"engine", "gateway", "router", "monitor"} <= {each["job_name"] for each in config["scrape_configs"]}


def test_inhibitions_name_alerts_that_exist() -> None:
    alerts = {rule.name for rule in load(AlertSettings()).alerts}
    text = ALERTMANAGER.read_text()
    assert {"TargetDown", "TtftBurnRate", "TtftBudget", "TpotBurnRate", "TpotBudget"} <= alerts
    assert "alertname = TargetDown" in text


def test_grafana_finds_the_boards_and_has_the_sources() -> None:
    sources = read(GRAFANA / "datasources" / "llm.yaml")["datasources"]
    assert [each["type"] for each in sources] == ["prometheus", "prometheus"]
    assert sum(each.get("isDefault", False) for each in sources) == 1
    boards = [json.loads(path.read_text()) for path in generate.DASHBOARDS.glob("*.json")]
    assert len({board["uid"] for board in boards}) == len(boards) > 5
    assert all(board["panels"] for board in boards)
