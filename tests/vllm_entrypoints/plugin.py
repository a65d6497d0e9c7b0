"""Loaded into the pytest that runs vLLM's tests: models are there already, and outcomes go to a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.utils import RemoteVLLMServer  # vLLM's

RANK = {"passed": 0, "skipped": 1, "failed": 2}
_outcomes: dict[str, list[str]] = {}


def pytest_configure() -> None:
    RemoteVLLMServer._pre_download_model = lambda self, model, args: None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of a test's three phases, with the last line of its error."""
    before = _outcomes.get(report.nodeid, ["passed", ""])
    if RANK[report.outcome] > RANK[before[0]] or report.nodeid not in _outcomes:
        _outcomes[report.nodeid] = [report.outcome, _reason(report)]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _outcomes[report.nodeid] = ["failed", f"not collected: {_reason(report)}"]


def pytest_sessionfinish() -> None:
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(_outcomes, indent=1))


def _reason(report: Any) -> str:
    if report.outcome == "passed" or report.longrepr is None:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])[:300]
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).strip().splitlines()[0][:300]
