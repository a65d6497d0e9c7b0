"""Drills and readiness checks on the shipped Compose stack: green as it is, and red for each fault."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deploy.support_compose import Project, project, stand_ins
from deploy.support_docker import docker, need

from llm_deploy import paths
from llm_deploy.drills.expectation import read
from llm_deploy.drills.faults import FAULTS
from llm_deploy.drills.game_day import hold
from llm_deploy.drills.key import configuration, digest, rewritten
from llm_deploy.images.catalog import tag
from llm_deploy.ready.check import GATEWAY_PORT, MONITOR_PORT, Finding, Subject, carry_out
from llm_deploy.ready.checks import CHECKS
from llm_deploy.running.compose import LABEL, Compose
from llm_deploy.running.deployment import Keys
from llm_deploy.running.http import ask
from llm_deploy.running.waiting import eventually

SECONDS = 60.0
BY_INSPECTION = (
    *("non-root", "read-only-root", "privileges", "limits", "probes", "restarts", "log-rotation", "versions-pinned"),
    *("secrets-in-files", "drain-time", "encrypted"),
)
DISTURBING = {"alerts-fire", "hung-is-noticed", "engines-restart", "drains", "load-1.2x", "saturated-stays"}
SPARE = "gateway-9"
GOOD = {
    "user": "--user 10001:10001",
    "root": "--read-only",
    "rights": "--cap-drop ALL --security-opt no-new-privileges",
    "memory": "--memory 256m",
    "cpus": "--cpus 0.5",
    "health": "--health-cmd true",
    "restart": "--restart unless-stopped",
    "logs": "--log-opt max-size=1m",
    "stop": "--stop-timeout 75",
    "port": "--publish 127.0.0.1::8080",
    "environment": "--env KEY_FILE=/run/secrets/key",
}
FAULTY = [
    ("non-root", {"user": "--user 0"}),
    ("read-only-root", {"root": ""}),
    ("privileges", {"rights": "--security-opt no-new-privileges"}),
    ("privileges", {"rights": "--cap-drop ALL"}),
    ("limits", {"memory": ""}),
    ("limits", {"cpus": ""}),
    ("probes", {"health": "--no-healthcheck"}),
    ("restarts", {"restart": ""}),
    ("log-rotation", {"logs": "--log-driver json-file"}),
    ("secrets-in-files", {"environment": "--env ENGINE_API_KEY=sk-1"}),
    ("drain-time", {"stop": "--stop-timeout 10"}),
    ("encrypted", {"port": "--publish 0.0.0.0::8080"}),
]

CLASSES = """
classes:
- {name: interactive, priority: 0, ttft_target: 0.5, tpot_target: 0.1}
- {name: standard, priority: 1, ttft_target: 2.0, tpot_target: 0.2}
- {name: batch, priority: 2, ttft_target: 30.0, tpot_target: 1.0, %s}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The shipped stack, for all tests of this file: each leaves it as it was."""
    need("engine", "router", "gateway", "monitor")
    folder = tmp_path_factory.mktemp("ready")
    with stand_ins(folder, "redis") as images, project(folder, profiles=["redis"], **images) as run:
        run.up()
        yield Compose(run.name, _keys(run))


def _keys(run: Project) -> Keys:
    return Keys(run.key("client"), run.key("admin"), run.key("monitor"))


def find(name: str, stack: Compose) -> Finding:
    check = next(each for each in CHECKS if each.name == name)
    return carry_out(check, Subject(stack), disturb=True).finding


@contextmanager
def spare(stack: Compose, image: str = "", **changed: str) -> Iterator[None]:
    """Add a container to the project that a check judges like the others, with some flags changed."""
    network = next(iter(stack.inspect()[0]["NetworkSettings"]["Networks"]))
    flags = shlex.split(" ".join({**GOOD, **changed}.values()))
    labels = ("--label", f"{LABEL}={stack.name}", "--label", f"com.docker.compose.service={SPARE}")
    engines = ("--engines", "http://127.0.0.1:1", "--require-keys", "false")
    started = docker("run", "--detach", "--network", network, "--tmpfs", "/tmp", *labels, *flags,
                     image or tag("gateway"), *engines).strip()  # fmt: skip
    try:
        yield
    finally:
        docker("rm", "--force", started)


@pytest.mark.parametrize("name", [check.name for check in CHECKS if check.name not in DISTURBING | {"packages-locked"}])
def test_the_shipped_stack_is_green(stack: Compose, name: str) -> None:
    finding = find(name, stack)
    assert finding.state != "red", finding.evidence


def test_images_hold_the_packages_of_their_locks(stack: Compose) -> None:
    if not (paths.DEPLOY / "images" / "locks").is_dir() or not tag("gateway").startswith("llm-lab/"):
        pytest.skip("the images are not those that `./lab images` builds")
    finding = find("packages-locked", stack)
    assert finding.state == "green", finding.evidence


def test_a_good_container_more_changes_nothing(stack: Compose) -> None:
    with spare(stack):
        for name in BY_INSPECTION:
            finding = find(name, stack)
            assert finding.state == "green", finding.evidence


@pytest.mark.parametrize(("name", "changed"), FAULTY)
def test_a_faulty_container_is_red_and_named(stack: Compose, name: str, changed: dict[str, str]) -> None:
    with spare(stack, **changed):
        finding = find(name, stack)
    assert finding.state == "red"
    assert finding.evidence.startswith(SPARE)


def test_text_in_place_of_json_is_red(stack: Compose) -> None:
    # A gateway with an admin API has something to say when it starts.
    with spare(stack, environment="--env LLM_GATEWAY_LOG_FORMAT=text --env LLM_GATEWAY_ADMIN__PORT=8081"):
        assert eventually(lambda: find("json-logs", stack).evidence.startswith(SPARE), SECONDS)
        assert find("json-logs", stack).state == "red"


def test_a_package_that_no_lock_has_is_red(stack: Compose, tmp_path: Path) -> None:
    image, to = "llm-test-stray:1", "/opt/app/lib/python3.11/site-packages/stray-1.0.dist-info/METADATA"
    (tmp_path / "METADATA").write_text("Name: stray\nVersion: 1.0\n")
    (tmp_path / "Dockerfile").write_text(f"FROM {tag('gateway')}\nCOPY METADATA {to}\n")
    docker("build", "--quiet", "--tag", image, str(tmp_path))
    try:
        with spare(stack, image):
            finding = find("packages-locked", stack)
    finally:
        docker("rmi", image)
    assert finding == Finding("red", "gateway: stray 1.0 not as locked")


def test_an_image_without_a_version_is_red(stack: Compose) -> None:
    docker("tag", tag("gateway"), "llm-test-unpinned:latest")
    try:
        with spare(stack, "llm-test-unpinned:latest"):
            finding = find("versions-pinned", stack)
    finally:
        docker("rmi", "llm-test-unpinned:latest")
    assert finding == Finding("red", f"{SPARE}: llm-test-unpinned:latest is not pinned")


def test_a_default_key_is_red(stack: Compose) -> None:
    path = configuration(stack)
    text = path.read_text()
    with rewritten(path, text.replace(digest(stack.keys.client), digest("changeme"))):
        assert eventually(lambda: "changeme: 200" in find("keys-required", stack).evidence, SECONDS)
        assert find("keys-required", stack).state == "red"
    assert eventually(lambda: find("keys-required", stack).state == "green", SECONDS)


def test_a_damaged_database_is_red(stack: Compose) -> None:
    damage = "open('/data/damaged.db', 'wb').write(b'SQLite format 3' + bytes(4081))"
    stack.run_in("gateway", "python", "-c", damage)
    try:
        finding = find("backups-restore", stack)
    finally:
        stack.run_in("gateway", "python", "-c", "import os; os.remove('/data/damaged.db')")
    assert finding.state == "red"


def test_a_dead_engine_is_red_in_all_that_is_observed(stack: Compose) -> None:
    stack.signal("engine-1", "KILL")
    try:
        assert eventually(lambda: find("quiet", stack).state == "red", SECONDS)
        assert "engine-1" in find("targets-up", stack).evidence
        assert find("engines-restart", stack).state == "red"
    finally:
        stack.start("engine-1")
    assert eventually(lambda: find("quiet", stack).state == "green", 3 * SECONDS)


@contextmanager
def configured(stack: Compose, service: str, change: Callable[[str], str]) -> Iterator[None]:
    """Run a service with other settings during the block."""
    path = configuration(stack, service)
    with rewritten(path, change(path.read_text())):
        restart(stack, service)
        yield
    restart(stack, service)


def restart(stack: Compose, service: str) -> None:
    stack.stop(service)
    stack.start(service)
    port = GATEWAY_PORT if service == "gateway" else MONITOR_PORT
    assert eventually(lambda: ask(f"{stack.url(service, port)}/ready").status == 200, SECONDS)


def test_metrics_without_a_key_are_red(stack: Compose) -> None:
    with configured(stack, "gateway", lambda text: text.replace("monitoring:\n", "monitoring:\n  open: true\n")):
        finding = find("operators-only", stack)
    assert finding == Finding("red", "/metrics without a key: 200; /sla without a key: 200")


def test_a_gateway_that_does_not_drain_is_red(stack: Compose) -> None:
    with configured(stack, "gateway", lambda text: text + "drain_timeout: 0.1\n"):
        finding = find("drains", stack)
    assert finding.state == "red"
    assert finding.evidence.startswith("the stream was cut")


@pytest.mark.parametrize(
    ("setting", "name", "says"),
    [("queue_timeout: 0.1", "load-1.2x", " x 408"), ("max_queue: 512", "saturated-stays", "no 429 within 60 s")],
)
def test_a_class_that_fails_under_load_is_red(stack: Compose, setting: str, name: str, says: str) -> None:
    with configured(stack, "gateway", lambda text: text + CLASSES % setting):
        finding = find(name, stack)
    assert finding.state == "red"
    assert says in finding.evidence


@pytest.mark.parametrize("name", ["runbooks", "alerts-fire", "hung-is-noticed"])
def test_a_monitor_without_rules_is_red(stack: Compose, name: str) -> None:
    with configured(stack, "monitor", lambda text: text + "alerts: {builtin: false}\n"):
        finding = find(name, stack)
    assert finding.state == "red"
    assert finding.evidence.startswith("no rule is loaded" if name == "runbooks" else "alert TargetDown: not seen")


@pytest.mark.parametrize("name", ["fill-disk", "bad-config", "expire-key", "cut-redis"])
def test_a_drill_agrees_with_its_runbook(stack: Compose, name: str) -> None:
    outcome = hold(read()[name], FAULTS[name], stack, print)
    assert outcome.agrees, outcome.rows


def test_the_first_looks_of_runbooks_are_commands_that_run(stack: Compose) -> None:
    """Run the blocks under "First look" that look into a container; the others ask for an address of the reader's."""
    ran = 0
    for page in sorted((paths.ROOT / "docs" / "runbooks").glob("*.md")):
        section = page.read_text().partition("## First look")[2].partition("## Decide")[0]
        for command, text in re.findall(r"^docker compose (exec|logs|ps) (.*)$", section, re.MULTILINE):
            words = shlex.split(text)
            if command == "exec":
                service, *inside = words
                stack.run_in(service, *inside)
                ran += 1
            elif command == "logs" and words[-1] != "redis":
                stack.logs(words[-1])
                ran += 1
    assert ran >= 5


def test_a_dead_router_is_red_where_requests_are_needed(stack: Compose) -> None:
    """The last of this file: the errors' alert fires for a minute and a half more."""
    stack.signal("router", "KILL")
    try:
        assert eventually(lambda: "router router is down" in find("targets-up", stack).evidence, SECONDS)
        assert "answered with 503" in find("traces-connect", stack).evidence
        assert "nothing was served" in find("load-1.2x", stack).evidence
        assert find("boards-full", stack).state == "red"
    finally:
        stack.start("router")
