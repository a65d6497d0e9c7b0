"""Each way in which Docker cannot be used is one line, and `stop` ends a daemon of our own and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_deploy import docker
from llm_deploy.errors import DeployError

NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
INSTALL = r"tools/docker-packages installs it on Debian \(as root\)"


class FakeDocker:
    """A `docker` that is installed, with an error for every call until the test says otherwise."""

    def __init__(self) -> None:
        self.error = NO_DAEMON
        self.programs = {"docker", "dockerd"}
        self.asked: list[str] = []
        self.output = ""

    def call(self, *arguments: str, environment: docker.Environment, stdin: object = None) -> docker.Done:
        self.asked.append(environment.get("DOCKER_HOST", "the default"))
        return subprocess.CompletedProcess(arguments, 1 if self.error else 0, self.output, self.error)

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.programs else None


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    made = FakeDocker()
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker, "call", made.call)
    monkeypatch.setattr(shutil, "which", made.which)
    return made


@pytest.fixture
def as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a daemon of our own, for a user who may start one."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name, path in (("FOLDER", ""), ("SOCKET", "docker.sock"), ("PID_FILE", "docker.pid")):
        monkeypatch.setattr(docker, name, tmp_path / path)
    return tmp_path


def test_no_docker(fake: FakeDocker) -> None:
    fake.programs.clear()
    with pytest.raises(DeployError, match=f"^Docker is not installed: {INSTALL}$"):
        docker.connect()


def test_a_daemon_that_answers_is_taken_as_it_is(fake: FakeDocker) -> None:
    fake.error = ""
    assert "DOCKER_HOST" not in docker.connect()
    assert fake.asked == ["the default"]


def test_no_rights_at_the_daemon(fake: FakeDocker) -> None:
    fake.error = "permission denied while trying to connect to the Docker daemon socket"
    with pytest.raises(
        DeployError, match=r"^this user may not use Docker's daemon: join the group docker .* or be root$"
    ):
        docker.connect()


def test_a_daemon_that_was_named_is_not_replaced_by_another(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://build:2375")
    with pytest.raises(DeployError, match=r"^no Docker daemon answers at DOCKER_HOST=tcp://build:2375: Cannot connect"):
        docker.connect()
    assert fake.asked == ["tcp://build:2375"]


def test_no_daemon_and_no_root_to_start_one(fake: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DeployError, match=r"^no Docker daemon runs: start one \(systemctl start docker\), or .* root$"):
        docker.connect()


def test_root_without_dockerd(fake: FakeDocker, as_root: Path) -> None:
    fake.programs = {"docker"}
    with pytest.raises(DeployError, match=f"^no Docker daemon runs, and dockerd is not installed: {INSTALL}$"):
        docker.connect()


def test_a_daemon_that_does_not_start_names_its_log(
    fake: FakeDocker, as_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "START_SECONDS", 0)
    monkeypatch.setattr(docker, "_daemon", lambda: ["sh", "-c", "echo no iptables >&2"])
    with pytest.raises(DeployError, match=r"^Docker's daemon did not start within 0 s: see .*dockerd.log$"):
        docker.connect()
    assert (as_root / "dockerd.log").exists()


def test_our_own_daemon_is_started_once_and_used_again(
    fake: FakeDocker, as_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[docker.Environment] = []

    def start(environment: docker.Environment) -> None:
        started.append(environment)

    monkeypatch.setattr(docker, "_start", start)
    assert docker.connect()["DOCKER_HOST"] == f"unix://{as_root}/docker.sock"
    assert fake.asked == ["the default", f"unix://{as_root}/docker.sock"]
    assert len(started) == 1


@pytest.mark.parametrize(("can", "wrapped"), [(True, False), (False, True)])
def test_runc_is_wrapped_only_where_oom_scores_cannot_be_lowered(
    can: bool, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_can_lower_oom_score", lambda: can)
    assert (f"ours={docker.RUNC_WRAPPER}" in docker._daemon()) is wrapped
    assert docker.RUNC_WRAPPER.exists()


@pytest.mark.parametrize("version", ["2.19.9", "1.29.2", "v2.3.3", "unknown"])
def test_an_old_compose(version: str, fake: FakeDocker) -> None:
    fake.error, fake.output = "", version
    with pytest.raises(DeployError, match=f"^Compose {version} is too old, 2.20 or newer is needed: {INSTALL}$"):
        docker.require_compose({})


@pytest.mark.parametrize("version", ["2.20.0", "v2.26.1-4", "5.0.1"])
def test_a_compose_that_is_new_enough(version: str, fake: FakeDocker) -> None:
    fake.error, fake.output = "", version
    docker.require_compose({})


def test_no_compose(fake: FakeDocker) -> None:
    fake.error = "docker: 'compose' is not a docker command."
    with pytest.raises(DeployError, match=f"^Docker has no Compose v2 plugin, and 2.20 or newer is needed: {INSTALL}$"):
        docker.require_compose({})


@pytest.fixture
def sleeper(as_root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose pid the pid file has, and which could be anybody's."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (as_root / "docker.pid").write_text(f"{process.pid}\n")
        yield process
        process.kill()


def test_a_pid_that_another_process_has_now_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    docker.stop()
    assert sleeper.poll() is None


def test_our_own_daemon_ends(as_root: Path) -> None:
    # Its command line has the folder, as dockerd's has. It is a grandchild, so this process does not have to reap it.
    daemon = f"[sys.executable, '-c', 'input()', {str(as_root)!r}]"
    start = f"import subprocess, sys; print(subprocess.Popen({daemon}, stdin=0, stdout=2).pid)"
    with subprocess.Popen((sys.executable, "-c", start), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        (as_root / "docker.pid").write_text(parent.stdout.readline().decode())
        docker.stop()
        assert docker._own_pid() is None


@pytest.mark.parametrize(("error", "chosen"), [(NO_DAEMON, "unix://{}/docker.sock"), ("", None)])
def test_our_own_daemon_is_used_where_no_other_answers(
    error: str, chosen: str | None, fake: FakeDocker, as_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.error = error
    monkeypatch.setattr(docker, "_own_pid", lambda: 1)
    monkeypatch.setattr(os, "environ", {})
    docker.choose()
    assert os.environ.get("DOCKER_HOST") == (chosen and chosen.format(as_root))


@pytest.mark.parametrize("text", ["", "not a number", "999999999"])
def test_a_pid_file_that_names_nothing(text: str, as_root: Path) -> None:
    (as_root / "docker.pid").write_text(text)
    docker.stop()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Error response from daemon: no such image\n", "no such image"),
        ("WARNING: x\nERROR: failed to solve", "failed to solve"),
        ("", "status 1"),
    ],
)
def test_the_reason_is_the_last_line_without_its_prefix(error: str, reason: str) -> None:
    assert docker.reason(subprocess.CompletedProcess("docker", 1, "", error)) == reason
