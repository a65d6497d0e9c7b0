"""Loaded into the pytest that runs vLLM's tests: models are there already, and outcomes go to a JSON file.

Only tests that speak to a server count: those with a fixture of one, and those that start one themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.utils import RemoteVLLMServer  # pants: no-infer-dep

RANK = {"passed": 0, "skipped": 1, "failed": 2}
_outcomes: dict[str, list[str]] = {}
_offline: set[str] = set()
_servers: list[RemoteVLLMServer] = []


def pytest_configure() -> None:
    start = RemoteVLLMServer.__init__

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        _servers.append(self)
        start(self, *args, **kwargs)

    RemoteVLLMServer.__init__ = counted
    RemoteVLLMServer._pre_download_model = lambda self, model, args: None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: Any) -> Generator[None, Any, Any]:
    before = len(_servers)
    result = yield
    if len(_servers) == before and not any("server" in name or "client" in name for name in item.fixturenames):
        _offline.add(item.nodeid)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst of a test's three phases, with the last line of its error."""
    before = _outcomes.get(report.nodeid, ["passed", ""])
    if RANK[report.outcome] > RANK[before[0]] or report.nodeid not in _outcomes:
        _outcomes[report.nodeid] = [report.outcome, _reason(report)]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _outcomes[report.nodeid] = ["failed", f"not collected: {_reason(report)}"]


def pytest_sessionfinish() -> None:
    spoken = {test: outcome for test, outcome in _outcomes.items() if test not in _offline}
    Path(os.environ["OUTCOMES"]).write_text(json.dumps(spoken, indent=1))


def _reason(report: Any) -> str:
    if report.outcome == "passed" or report.longrepr is None:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])[:300]
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).strip().splitlines()[0][:300]
