"""`llm-monitor rules`: check rule files, test them, print them for a Prometheus."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from llm_contract.settings import EXIT_USAGE
from llm_monitor.alerts import unit_tests
from llm_monitor.alerts.prometheus import rule_file
from llm_monitor.alerts.rules import InvalidRules, load
from llm_monitor.alerts.settings import AlertSettings

PROG = "llm-monitor rules"


def main(argv: Sequence[str]) -> int:
    """Return the exit status: 0, 1 if a test fails, 2 if a file is wrong."""
    arguments = _parse(argv)
    try:
        settings = _settings(arguments.config)
        settings = settings.model_copy(update={"rules": [*settings.rules, *arguments.files]})
        if arguments.prometheus:
            print(rule_file(settings), end="")
            return 0
        rules = load(settings)
        failures = [failure for path in arguments.test for failure in unit_tests.run_file(path)]
    except (InvalidRules, unit_tests.InvalidTest, OSError, yaml.YAMLError, ValidationError) as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return EXIT_USAGE
    print("\n".join(failures) or f"{len(rules.alerts)} alerts, {len(list(rules)) - len(rules.alerts)} recording rules")
    return 1 if failures else 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="rule files, besides the built-in ones")
    parser.add_argument("--config", type=Path, help="the monitor's configuration; its section `alerts` counts")
    parser.add_argument("--prometheus", action="store_true", help="print all rules as a file for Prometheus")
    tests = "run a test file of `promtool test rules`"
    parser.add_argument("--test", type=Path, action="append", default=[], metavar="FILE", help=tests)
    return parser.parse_args(argv)


def _settings(config: Path | None) -> AlertSettings:
    content = yaml.safe_load(config.read_text(encoding="utf-8")) if config else None
    return AlertSettings.model_validate((content or {}).get("alerts") or {})
