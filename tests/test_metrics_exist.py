"""Every metric of every alert, autoscaler and board exists on a running stack: two engines, router, gateway, monitor.

The monitor and a real Prometheus watch the same processes. Prometheus runs on the shipped configuration, with the
processes' addresses in it.
"""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest
import yaml
from support import READY_TIMEOUT, MonitorClient, any_port, eventually, loaded, run_monitor

from llm_deploy import paths
from llm_deploy.autoscale import queries
from llm_lab import service
from llm_lab.ports import HOST
from llm_lab.service import Running
from llm_monitor.alerts import AlertSettings, load
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.panel import Choice, expand
from llm_monitor.promql import parse

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus is missing: apt-get install prometheus"
)

BODY = {"model": "main", "prompt": "def add(a, b):", "max_tokens": 24, "ignore_eos": True}
ABSENT = {
    "gpu_": "no GPU is here",
    "vllm:spec_decode_": "no engine speculates",
    "vllm:num_requests_waiting_by_reason": "vLLM alone exports it",
    "vllm:kv_block_": "vLLM alone exports it, with --kv-cache-metrics",
}
"""Prefixes of metrics that this stack cannot have, and why. Each must be in use, and none may be exported."""


Start = Callable[..., Running]


@dataclass(frozen=True)
class Fleet:
    monitor: MonitorClient
    prometheus: MonitorClient
    gateway: Running


@pytest.fixture
def fleet(start: Start, start_engine: Start, start_gateway: Start, tmp_path: Path) -> Iterator[Fleet]:
    engines = [start_engine(f"engine-{index}", any_port()) for index in range(2)]
    service.wait_until_ready(engines, READY_TIMEOUT)
    router = run_router(start, engines)
    service.wait_until_ready([router], READY_TIMEOUT)
    gateway = start_gateway(router.url, probe_interval=0.2)
    service.wait_until_ready([gateway], READY_TIMEOUT)
    targets = {"engine-0": engines[0].url, "engine-1": engines[1].url, "router": router.url, "gateway": gateway.url}
    monitor = run_monitor(start, tmp_path, targets)
    jobs = {"engine": engines, "router": [router], "gateway": [gateway]}
    with prometheus(tmp_path, {**jobs, "monitor": monitor.url}) as address:
        yield Fleet(monitor, MonitorClient(address), gateway)


def run_router(start: Start, engines: Sequence[Running]) -> Running:
    port = any_port()
    flags = [word for engine in engines for word in ("--engine", engine.url)]
    return start(
        "router", port, "-m", "llm_router", "edge", *flags, "--port", str(port), "--admin-port", str(any_port())
    )


@contextmanager
def prometheus(folder: Path, jobs: dict[str, Any]) -> Iterator[str]:
    """Run Prometheus on the shipped configuration with other addresses."""
    shipped = paths.DEPLOY / "observability" / "prometheus"
    config = yaml.safe_load((shipped / "plain.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(shipped / "rules" / "*.yml")]
    for job in config["scrape_configs"]:
        found = jobs[job["job_name"]]
        urls = [found] if isinstance(found, str) else [running.url for running in found]
        job["static_configs"] = [{"targets": [url.removeprefix("http://") for url in urls]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"{HOST}:{any_port()}"
    flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb")
    process = Popen(["prometheus", *flags, f"--web.listen-address={address}"], stderr=DEVNULL)
    try:
        assert eventually(lambda: _answers(f"http://{address}/-/ready"), 60)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def names_of(expression: str) -> set[str]:
    """Return the metrics of an expression, those that a pattern joins with | as well."""
    patterns = re.findall(r'__name__=~"([^"]*)"', expression)
    return parse(expression).metric_names() | {name for each in patterns for name in each.split("|")}


def used() -> dict[str, str]:
    """Return every metric that something reads -> one place that reads it."""
    found = {name: f"alert or rule {rule.name}" for rule in load(AlertSettings()) for name in names_of(rule.expr.text)}
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                found |= dict.fromkeys(names_of(expand(query.expression, Choice())), f"panel {board.key}/{panel.key}")
    for metric, expression in queries.external_metrics().items():
        found |= dict.fromkeys(names_of(expression), f"HPA metric {metric}")
    for name in queries.SERVICES:
        for expression in queries.keda_targets(name):
            found |= dict.fromkeys(names_of(expression), f"KEDA query of {name}")
    return found


def exported(client: MonitorClient) -> set[str]:
    """Return the names of all series of the last minutes."""
    with urllib.request.urlopen(f"{client.url}/api/v1/label/__name__/values", timeout=60) as response:
        return set(json.load(response)["data"])


def needed() -> dict[str, str]:
    return {name: place for name, place in used().items() if not name.startswith(tuple(ABSENT))}


def test_each_metric_that_something_reads_exists_and_the_exceptions_do_not(fleet: Fleet) -> None:
    recorded = {rule.name for rule in load(AlertSettings()) if rule not in load(AlertSettings()).alerts}
    wanted = {name: place for name, place in needed().items() if name not in recorded | {"ALERTS"}}
    assert len(wanted) > 50
    missing: dict[str, str] = {}

    def all_there() -> bool:
        missing.clear()
        missing.update({name: place for name, place in wanted.items() if name not in exported(fleet.monitor)})
        return not missing

    with loaded(fleet.gateway.url, BODY):
        assert eventually(all_there, 60), missing

    names = exported(fleet.monitor)
    for prefix, reason in ABSENT.items():
        assert [name for name in used() if name.startswith(prefix)], f"{prefix} is read by nothing"
        assert not [name for name in names if name.startswith(prefix)], f"{prefix} exists; yet {reason!r}"


def test_each_query_of_an_autoscaler_has_a_value_when_idle_and_follows_the_load(fleet: Fleet) -> None:
    keda = [expression for name in queries.SERVICES for expression in queries.keda_targets(name)]
    expressions = [*queries.external_metrics().values(), *keda]
    assert eventually(
        lambda: all(watcher.value(each) == 0 for watcher in (fleet.monitor, fleet.prometheus) for each in expressions),
        120,
    )
    busy = [each for each in expressions if "waiting" not in each or "running" in each]
    with loaded(fleet.gateway.url, BODY | {"max_tokens": 400}):
        for watcher in (fleet.monitor, fleet.prometheus):
            assert eventually(lambda w=watcher: all((w.value(each) or 0) > 0 for each in busy), 60)  # type: ignore[misc]

    # A label that no engine has, as in autoscalers that never scaled: the check above would not pass.
    for watcher in (fleet.monitor, fleet.prometheus):
        assert watcher.value('sum(vllm:num_requests_waiting{model="main"})') is None

    with loaded(fleet.gateway.url, BODY):
        assert eventually(lambda: fleet.prometheus.seen("instance:generation_tokens:rate1m"), 90)
    with urllib.request.urlopen(f"{fleet.prometheus.url}/api/v1/rules", timeout=60) as response:
        groups = json.load(response)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(list(load(AlertSettings())))
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
