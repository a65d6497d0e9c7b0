"""The same rules for a real Prometheus."""

from __future__ import annotations

import yaml

from llm_monitor.alerts.rules import fill, parse_rules, texts
from llm_monitor.alerts.settings import AlertSettings

HEADER = "# Written by `llm-monitor rules --prometheus`. Do not edit: the next run writes it again.\n"


def rule_file(settings: AlertSettings) -> str:
    """Return the content of a rule file: all rules, with the objectives filled in. Raises InvalidRules."""
    groups = []
    for name, text in texts(settings):
        parse_rules(text, name, settings.slo)
        groups += yaml.safe_load(fill(text, settings.slo))["groups"]
    return HEADER + yaml.safe_dump({"groups": groups}, sort_keys=False, allow_unicode=True, width=1000)
