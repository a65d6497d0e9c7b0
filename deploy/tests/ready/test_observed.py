"""Checks over HTTP: green on a server that behaves, red on each misbehaviour."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from tests.support_deployment import GOOD, FakeDeployment, Handler, serving

from llm_deploy.ready.check import Finding, Subject, carry_out
from llm_deploy.ready.checks import CHECKS, data, observed

UP = [{"metric": {"job": "gateway", "instance": "gateway"}, "value": [0, "1"]}]
RULE = {"name": "TargetDown", "type": "alerting", "annotations": {"runbook": "http://docs/runbooks/TargetDown.html"}}


def gateway(path: str, key: str, _: bytes) -> tuple[int, Any]:
    if path.startswith("/v1"):
        return (200 if key == "client" else 401), {}
    return 401, {}


def monitor(
    up: list[Any] = UP, alerts: tuple[Any, ...] = (), rules: tuple[Any, ...] = (RULE,), is_open: bool = False
) -> Handler:
    def answer(path: str, key: str, _: bytes) -> tuple[int, Any]:
        if key != "monitor" and not is_open:
            return 401, {}
        if path.startswith("/api/v1/alerts"):
            return 200, {"data": {"alerts": alerts}}
        if path.startswith("/api/v1/rules"):
            return 200, {"data": {"groups": [{"rules": rules}]}}
        query = urllib.parse.parse_qs(urllib.parse.urlparse(path).query).get("query", [""])[0]
        return 200, {"data": {"result": up if query.startswith("up") else []}}

    return answer


def find(name: str, of_gateway: Handler = gateway, of_monitor: Handler | None = None) -> Finding:
    check = next(each for each in CHECKS if each.name == name)
    with serving(of_gateway) as first, serving(of_monitor or monitor()) as second:
        urls = {("gateway", 8080): first, ("gateway", 8081): first, ("monitor", 9600): second}
        return carry_out(check, Subject(FakeDeployment([GOOD], urls)), disturb=False).finding


@pytest.mark.parametrize("name", ["keys-required", "operators-only", "targets-up", "quiet", "runbooks"])
def test_green_on_a_deployment_that_behaves(name: str) -> None:
    found = find(name)
    assert found.state == "green", found.evidence


RED: list[tuple[str, str, Callable[[], Finding]]] = [
    ("keys-required", "no key: 200", lambda: find("keys-required", lambda path, key, body: (200, {}))),
    (
        "keys-required",
        "changeme: 200",
        lambda: find("keys-required", lambda path, key, body: (200 if key in ("client", "changeme") else 401, {})),
    ),
    ("keys-required", "own key", lambda: find("keys-required", lambda path, key, body: (401, {}))),
    ("operators-only", "/metrics", lambda: find("operators-only", lambda path, key, body: (200, {}))),
    ("operators-only", "/api/v1/targets", lambda: find("operators-only", of_monitor=monitor(is_open=True))),
    (
        "targets-up",
        "is down",
        lambda: find("targets-up", of_monitor=monitor([{**UP[0], "value": [0, "0"]}])),
    ),
    ("targets-up", "no gateway", lambda: find("targets-up", of_monitor=monitor([]))),
    (
        "quiet",
        "NoEngine",
        lambda: find("quiet", of_monitor=monitor(alerts=({"labels": {"alertname": "NoEngine"}, "state": "firing"},))),
    ),
    ("runbooks", "no runbook", lambda: find("runbooks", of_monitor=monitor(rules=({**RULE, "annotations": {}},)))),
    (
        "runbooks",
        "there is no Gone.md",
        lambda: find("runbooks", of_monitor=monitor(rules=({**RULE, "annotations": {"runbook": "runbooks/Gone"}},))),
    ),
    ("runbooks", "no rule", lambda: find("runbooks", of_monitor=monitor(rules=()))),
]


@pytest.mark.parametrize(("name", "evidence", "red"), RED, ids=[f"{name}: {text}" for name, text, _ in RED])
def test_each_misbehaviour_is_red_and_named(name: str, evidence: str, red: Callable[[], Finding]) -> None:
    found = red()
    assert found.state == "red"
    assert evidence in found.evidence


def test_a_path_of_a_trace_follows_parents_only() -> None:
    spans: list[dict[str, object]] = [
        {"id": "b", "parent": "a", "service": "llm-gateway"},
        {"id": "c", "parent": "b", "service": "llm-router"},
        {"id": "d", "parent": "lost", "service": "llm-engine"},
    ]
    assert observed._path(spans, "a") == ["gateway", "router"]
    assert observed._path([*spans[:2], {**spans[2], "parent": "c"}], "a") == ["gateway", "router", "engine"]


@pytest.mark.parametrize(
    ("databases", "state"),
    [
        ({"/data/history.db": ["ok", 12]}, "green"),
        ({"/data/history.db": ["row 3 missing from index", 12]}, "red"),
        ({"/data/history.db": ["ok", 0]}, "red"),
        ({}, "red"),
    ],
)
def test_a_backup_is_green_only_if_it_is_whole(databases: dict[str, Any], state: str) -> None:
    assert data.restores(Subject(FakeDeployment([GOOD], output=json.dumps(databases)))).state == state


@pytest.mark.parametrize(("log", "state"), [('{"message": "up"}\n', "green"), ("WARNING up\n", "red")])
def test_logs_are_json(log: str, state: str) -> None:
    assert observed.json_logs(Subject(FakeDeployment([GOOD], log=log))).state == state
