"""The Compose files on a real Docker: each capstone up, answering and gone; the whole, watched and traced."""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path

import pytest
from deploy.support_compose import (
    Project,
    ask,
    healthy_seconds,
    project,
    stand_ins,
)
from deploy.support_docker import docker, need
from support import eventually, repeating

from llm_deploy.compose.stack import CAPSTONES, PROFILES
from llm_deploy.ready.checks.observed import WITHOUT_KV
from llm_monitor.boards.catalog import BOARDS
from llm_monitor.boards.check import empty

BODY = {"model": "main", "prompt": "def add(a, b):", "max_tokens": 24, "ignore_eos": True}
CHAT = {"model": "main", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
TRACE = "0af7651916cd43dd8448eb211c80319c"
WATCHED = ("overview", "engines", "gateway", "router", "requests", "monitor")
"""Boards of what runs: no GPU does, and the alerts' board is about what fires."""
ALERT_SECONDS = 60.0
"""TargetDown waits for 10 s; Prometheus scrapes every 5 s, and its Alertmanager waits 10 s for more."""


pytestmark = pytest.mark.usefixtures("docker_daemon")


def does_its_job(capstone: str, run: Project) -> bool:
    """Return whether a capstone answers as its users expect."""
    if capstone == "monitor":
        return eventually(lambda: value(run, 'up{instance="engine"}') == 1)
    if capstone in ("bench", "docs"):
        return ask(f"{run.url(capstone)}/")[0] == 200
    key = run.key("client") if capstone == "gateway" else ""
    return ask(f"{run.url(capstone)}/v1/completions", key, BODY)[0] == 200


def value(run: Project, expression: str) -> float | None:
    """Return the first value of an expression in the monitor; None if it has none."""
    query = urllib.parse.urlencode({"query": expression})
    result = ask(f"{run.url('monitor')}/api/v1/query?{query}", run.key("monitor"))[1]["data"]["result"]
    return float(result[0]["value"][1]) if result else None


@pytest.mark.parametrize(
    ("capstone", "needs"),
    [
        ("engine", ("engine",)),
        ("router", ("engine", "router")),
        ("gateway", ("engine", "gateway")),
        ("monitor", ("engine", "monitor")),
        ("bench", ("engine", "bench")),
        ("docs", ("docs",)),
    ],
)
def test_a_capstone_alone_is_healthy_answers_and_leaves_nothing(
    capstone: str, needs: tuple[str, ...], tmp_path: Path
) -> None:
    need(*needs)
    with project(tmp_path, capstone) as run:
        assert run.up() <= healthy_seconds()
        assert does_its_job(capstone, run)
        assert run.left()
        assert run.lab("compose", capstone, "down", "--volumes").returncode == 0
        assert run.left() == []


@pytest.mark.parametrize("capstone", [None, *CAPSTONES])
def test_docker_compose_accepts_each_file_with_all_profiles(capstone: str | None, tmp_path: Path) -> None:
    with project(tmp_path, capstone, () if capstone else list(PROFILES)) as run:
        run.compose("config", "--quiet")


def test_a_job_writes_its_results_and_ends(tmp_path: Path) -> None:
    need("quantize")
    with project(tmp_path, "quantize") as run:
        method = ("quantize", "/models/main", "--method", "rtn", "--out", "/data/rtn")
        run.compose("run", "--name", f"{run.name}-job", "quantize", *method)
        docker("cp", f"{run.name}-job:/data/rtn/quantization.json", str(tmp_path))
        docker("rm", f"{run.name}-job")
        assert json.loads((tmp_path / "quantization.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The whole with Prometheus and Alertmanager, and what `./lab compose` starts is healthy in time."""
    need("engine", "router", "gateway", "monitor")
    folder = tmp_path_factory.mktemp("whole")
    with (
        stand_ins(folder, "prometheus", "alertmanager") as images,
        project(folder, profiles=["observability"], **images) as run,
    ):
        assert run.up("gateway", "monitor") <= healthy_seconds()
        run.up()
        yield run


def load(run: Project) -> AbstractContextManager[None]:
    """Send requests one after the other, streamed and not, while the `with` block runs."""
    url, key, streamed = f"{run.url('gateway')}/v1/completions", run.key("client"), cycle((False, True))
    return repeating(lambda: ask(url, key, BODY | {"stream": next(streamed)}))


def test_a_chat_is_answered_with_the_key_of_this_machine_and_refused_without(whole: Project) -> None:
    url = f"{whole.url('gateway')}/v1/chat/completions"
    assert ask(url, body=CHAT)[0] == 401
    assert ask(url, "sk-wrong", CHAT)[0] == 401
    status, answer = ask(url, whole.key("client"), CHAT)
    assert (status, answer["usage"]["completion_tokens"]) == (200, CHAT["max_tokens"])


def test_operators_pages_need_their_keys(whole: Project) -> None:
    for url, key in (
        (f"{whole.url('gateway')}/metrics", "monitor"),
        (f"{whole.url('gateway_admin')}/admin/engines", "admin"),
        (f"{whole.url('monitor')}/api/v1/targets", "monitor"),
    ):
        assert ask(url)[0] == 401, url
        assert ask(url, whole.key("client"))[0] == 401, url
        assert ask(url, whole.key(key))[0] == 200, url


def test_one_trace_leads_from_the_gateway_through_the_router_to_an_engine(whole: Project) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    assert ask(f"{whole.url('gateway')}/v1/completions", whole.key("client"), BODY, headers)[0] == 200

    def services() -> set[str]:
        status, trace = ask(f"{whole.url('monitor')}/api/traces/{TRACE}", whole.key("monitor"))
        return {span["service"] for span in trace} if status == 200 else set()

    assert eventually(lambda: services() >= {"llm-gateway", "llm-router", "llm-engine"}), services()


def test_the_monitor_sees_all_and_no_board_of_what_runs_is_empty(whole: Project) -> None:
    targets = ask(f"{whole.url('monitor')}/api/v1/targets", whole.key("monitor"))[1]["data"]["activeTargets"]
    jobs = sorted(target["labels"]["job"] for target in targets)
    assert jobs == ["engine", "engine", "gateway", "monitor", "router"]
    assert {target["health"] for target in targets} == {"up"}
    boards = [board for board in BOARDS if board.key in WATCHED]
    assert {board.key for board in boards} == set(WATCHED)
    had: set[str] = set()

    def seen(expression: str) -> bool:
        if expression not in had and value(whole, expression) is not None:
            had.add(expression)
        return expression in had

    def faults() -> list[str]:
        return [line for line in empty(boards, seen) if line.partition(":")[0] not in WITHOUT_KV]

    with load(whole):
        assert eventually(lambda: not faults(), 60), faults()


def test_it_is_ready_for_production(whole: Project, tmp_path: Path) -> None:
    keys = ("--keys", whole.variables["LLM_LAB_SECRETS"], "--out", str(tmp_path))
    done = whole.lab("ready", "--compose", whole.name, *keys)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads((tmp_path / "ready.json").read_text())["checks"]
    assert {check["state"] for check in checks} == {"green", "skipped"}


def test_a_dead_engine_reaches_alertmanager_through_the_monitors_rules_in_prometheus(whole: Project) -> None:
    prometheus, alertmanager = whole.url("prometheus"), whole.url("alertmanager")
    rules = {
        rule["name"] for group in ask(f"{prometheus}/api/v1/rules")[1]["data"]["groups"] for rule in group["rules"]
    }
    assert {"TargetDown", "EngineStalled", "WaitBoundViolated"} <= rules

    def healths() -> list[str]:
        return [one["health"] for one in ask(f"{prometheus}/api/v1/targets")[1]["data"]["activeTargets"]]

    assert eventually(lambda: healths() == ["up"] * 6), healths()

    def notified() -> bool:
        alerts = ask(f"{alertmanager}/api/v2/alerts")[1]
        labels = [alert["labels"] for alert in alerts]
        return any(one["alertname"] == "TargetDown" and one["instance"] == "engine-1:8000" for one in labels)

    whole.compose("kill", "engine-1")
    assert eventually(notified, ALERT_SECONDS)
    assert ask(f"{whole.url('gateway')}/v1/completions", whole.key("client"), BODY)[0] == 200
    whole.up("engine-1")
    assert eventually(lambda: healths() == ["up"] * 6), healths()


def test_a_running_stack_can_be_brought_up_again_and_one_down_leaves_nothing(whole: Project) -> None:
    again = whole.lab("compose", "up")
    assert again.returncode == 0, again.stderr
    assert f"gateway        {whole.url('gateway')}" in again.stdout
    assert "engine-0" in whole.lab("compose", "status").stdout
    assert whole.lab("compose", "down", "--volumes").returncode == 0
    assert whole.left() == []


def test_bad_input_is_one_line_and_nothing_starts(tmp_path: Path) -> None:
    need("engine", "gateway")
    with project(tmp_path, "gateway") as run, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (tmp_path / "secrets" / "gateway.yaml").write_text("tenants: [{name: a, keys: [plain]}]")
        for variables, says in (
            ({"GATEWAY_PORT": port}, f"port {port}, which gateway publishes, is in use by"),
            ({"LLM_LAB_VERSION": "never"}, "`./lab images engine gateway` builds them"),
            ({}, "a key is configured by its hash"),
            ({"DOCKER_HOST": "unix:///nowhere.sock"}, "no Docker daemon answers at DOCKER_HOST=unix:///nowhere.sock"),
        ):
            done = Project(run.stack, run.variables | variables).lab("compose", "gateway", "up")
            assert done.returncode == 1
            assert says in done.stderr
            assert all(line.startswith("lab: ") for line in done.stderr.splitlines()), done.stderr
        assert run.left() == []
