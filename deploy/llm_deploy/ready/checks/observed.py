"""Checks of what operators see: targets, boards, alerts with runbooks, traces, logs."""

from __future__ import annotations

import json
import secrets

from llm_deploy.drills.expectation import RUNBOOKS
from llm_deploy.ready.check import Check, Finding, Subject, judged
from llm_deploy.running.http import ask
from llm_deploy.running.load import clients
from llm_deploy.running.waiting import eventually
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty

SECONDS = 45.0
ANNOUNCED = "http://"
"""A server prints its URL on standard output, which Docker keeps with the log."""
WITHOUT_KV = {"gateway/kv-budget"}
"""A gateway in front of a router sees no engine, so it knows no KV cache and fills no such panel."""
PARTS = ("overview", "engines", "gateway", "router")
"""Boards of services; the others show GPUs, traces and the monitor itself."""


def targets_up(subject: Subject) -> Finding:
    found = [(one["metric"], one["value"][1]) for one in subject.monitor.series("up")]
    faults = [f"{labels['job']} {labels['instance']} is down" for labels, value in found if value != "1"]
    watched = {labels["job"] for labels, _ in found}
    faults += [f"no {role} is watched" for role in sorted(subject.roles - watched - {"monitor"})]
    return judged(faults, ", ".join(sorted(f"{labels['job']} {labels['instance']}" for labels, _ in found)))


def boards_full(subject: Subject) -> Finding:
    """A panel counts once it had a value: some have one only while requests run."""
    boards = [
        board for board in BOARDS if board.key in PARTS and (board.key in subject.roles | {"overview", "engines"})
    ]
    had: set[str] = set()

    def has(expression: str) -> bool:
        if expression not in had and subject.monitor.series(expression):
            had.add(expression)
        return expression in had

    let_off = WITHOUT_KV if "router" in subject.roles else set()

    def faults() -> list[str]:
        return [line for line in empty(boards, has) if line.partition(":")[0] not in let_off]

    with clients(subject.gateway, subject.deployment.keys.client, 2):
        eventually(lambda: not faults(), SECONDS)
    panels = sum(len(board.panels) for board in boards)
    return judged(faults(), f"{panels} panels of {', '.join(board.key for board in boards)}")


def runbooks(subject: Subject) -> Finding:
    """Each loaded rule must lead to a page that exists, and each drill must have its expectation in one."""
    rules = subject.monitor.rules()
    pages = {rule["name"]: rule["annotations"].get("runbook", "") for rule in rules}
    faults = [f"{name} names no runbook" for name, page in pages.items() if not page]
    stems = {name: page.rpartition("/")[2].removesuffix(".html") for name, page in pages.items() if page}
    faults += [
        f"{name}: there is no {stem}.md" for name, stem in stems.items() if not (RUNBOOKS / f"{stem}.md").is_file()
    ]
    faults += ["no rule is loaded"] if not rules else []
    return judged(faults, f"{len(rules)} alerts and {len(subject.runbooks)} drills, each with a page")


def quiet(subject: Subject) -> Finding:
    firing = subject.monitor.firing()
    return judged([f"{name} at {labels.get('instance', '?')}" for name, labels in firing.items()], "no alert fires")


def traces_connect(subject: Subject) -> Finding:
    """Send a request as the root of a trace, and follow the parents of its spans back from the engine."""
    wanted = [role for role in ("gateway", "router", "engine") if role in subject.roles]
    trace, root = secrets.token_hex(16), secrets.token_hex(8)
    body = {"model": "main", "prompt": "def f", "max_tokens": 4}
    parent = {"traceparent": f"00-{trace}-{root}-01"}
    answer = ask(f"{subject.gateway}/v1/completions", key=subject.deployment.keys.client, body=body, headers=parent)
    if answer.status != 200:
        return Finding("red", f"the request was answered with {answer.status}: {answer.text[:80]}")
    eventually(lambda: _path(subject.monitor.trace(trace), root) == wanted, 20)
    path = _path(subject.monitor.trace(trace), root)
    missing = [role for role in wanted if role not in path]
    reached = f"client -> {' -> '.join(path) or 'nothing'}"
    return judged([f"{reached}; no span of {', '.join(missing)} below it"] if missing else [], reached)


def _path(spans: list[dict[str, object]], root: str) -> list[str]:
    """Return the services from the client's span down, as far as parents connect them."""
    path: list[str] = []
    level = {root}
    while below := [span for span in spans if span["parent"] in level]:
        for span in below:
            service = next((role for role in ("gateway", "router", "engine") if role in str(span["service"])), "")
            if service and service not in path:
                path.append(service)
        level = {str(span["id"]) for span in below}
    return path


def json_logs(subject: Subject) -> Finding:
    faults = []
    for one in {each.role: each for each in subject.containers}.values():
        lines = subject.deployment.logs(one.service, 5).splitlines()
        plain = [line for line in lines if line.strip() and not line.startswith(ANNOUNCED) and not _is_json(line)]
        if plain:
            faults.append(f"{one.service}: {plain[-1][:60]}")
    return judged(faults, f"the last lines of {', '.join(sorted(subject.roles))} are JSON")


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


CHECKS = (
    Check(name="targets-up", asserts="the monitor sees all services, and all answer", how="PromQL: up",
          page="docs/runbooks/TargetDown.md", run=targets_up),
    Check(name="quiet", asserts="no alert fires", how="/api/v1/alerts", page="docs/runbooks/README.md", run=quiet),
    Check(name="boards-full", asserts="no panel of the boards is empty", how="each panel's PromQL, under two clients",
          page="services/monitor/README.md", run=boards_full),
    Check(name="runbooks", asserts="each alert and drill has a runbook", how="/api/v1/rules against docs/runbooks",
          page="docs/runbooks/README.md", run=runbooks,
          covers=("Deployment and runbooks are documented", "A complete runbook for common operations")),
    Check(name="traces-connect", asserts="one trace reaches from the client to the engine",
          how="a request with a traceparent, its spans at the monitor", page="deploy/README.md", run=traces_connect,
          covers=("Logging and distributed tracing",)),
    Check(name="json-logs", asserts="services log JSON", how="the last lines of each log", page="deploy/README.md",
          run=json_logs, severity="recommended", covers=("Logging and distributed tracing",)),
)  # fmt: skip
