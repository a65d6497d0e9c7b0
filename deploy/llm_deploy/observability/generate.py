"""Files that repeat the monitor's rules and boards in the formats of Prometheus, its operator and Grafana."""

from __future__ import annotations

from pathlib import Path

import yaml

from llm_deploy import paths
from llm_monitor.alerts.prometheus import HEADER, rule_file
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.grafana import to_json

RULES = paths.DEPLOY / "observability" / "prometheus" / "rules" / "llm.yml"
DASHBOARDS = paths.DEPLOY / "observability" / "grafana" / "dashboards"
OPERATOR_RULES = paths.DEPLOY / "kubernetes" / "components" / "prometheus-operator" / "rules.yaml"


def generated() -> dict[Path, str]:
    """Return the content of every generated file, by path."""
    rules = rule_file(AlertSettings())
    boards = {DASHBOARDS / f"{board.key}.json": to_json(board) + "\n" for board in BOARDS}
    return {RULES: rules, OPERATOR_RULES: prometheus_rule(rules), **boards}


def prometheus_rule(rules: str) -> str:
    """Return a rule file as the operator's PrometheusRule."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "llm", "labels": {"app.kubernetes.io/part-of": "llm-lab"}},
        "spec": yaml.safe_load(rules),
    }
    return HEADER + yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=1000)


def outdated() -> list[str]:
    """Return the generated files that differ from what the monitor's rules and boards say, or are left over."""
    expected = generated()
    wrong = [path for path, text in expected.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    wrong += [path for path in DASHBOARDS.glob("*.json") if path not in expected]
    return sorted(str(path.relative_to(paths.ROOT)) for path in wrong)


def write() -> list[str]:
    """Write the files that are outdated and return their names."""
    changed = outdated()
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in DASHBOARDS.glob("*.json"):
        if path not in generated():
            path.unlink()
    return changed
