"""The preflight with a `docker` that answers as the case demands."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_deploy.cli import main
from llm_deploy.compose import secrets
from llm_deploy.compose.preflight import problems
from llm_deploy.compose.stack import stack_of
from llm_deploy.errors import DeployError

READY = {"version --format": "20.10.24", "compose version": "2.26.1", "info": str(8 * 2**30)}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///a-test.sock")  # so that no daemon is started
    for name in ("VLLM_URL", "LLM_LAB_REGISTRY", "GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)


class FakeDocker:
    """A `docker` that prints an answer by the start of its arguments, and fails where it has none."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "docker"
        self.answers = dict(READY)
        self.errors: dict[str, str] = {}

    def write(self, model: Mapping[str, Any]) -> None:
        cases = [f'*"{words}"*) echo "{text}" >&2; exit 1;;' for words, text in self.errors.items()]
        answers = {**self.answers, "config --format json": json.dumps(model)}
        cases += [f"*\"{words}\"*) printf '%s\\n' '{text}';;" for words, text in answers.items()]
        self._program.write_text(
            '#!/bin/sh\ncase "$*" in\n' + "\n".join(cases) + '\n*"ps --filter"*);;\n*) exit 1;;\nesac\n'
        )
        self._program.chmod(0o755)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return FakeDocker(tmp_path / "bin")


def service(**fields: Any) -> dict[str, Any]:
    return {"image": "llm-lab/gateway:dev", **fields}


def model(**services: Any) -> dict[str, Any]:
    return {"name": "llm", "services": services, "secrets": {}}


def found(docker: FakeDocker, wanted: Mapping[str, Any]) -> list[str]:
    docker.write(wanted)
    return problems(stack_of(None))


def test_nothing_is_wrong(docker: FakeDocker) -> None:
    docker.answers["image inspect"] = "[]"
    assert found(docker, model(gateway=service())) == []


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"version --format": "permission denied while trying to connect"}, "this user may not use Docker's daemon"),
        ({"version --format": "Cannot connect to the Docker daemon"}, "no Docker daemon answers"),
        ({"compose version": "docker: 'compose' is not a docker command"}, "Docker has no Compose v2 plugin"),
        ({"config --format json": "services.gateway.ports: wrong"}, "compose.yaml: services.gateway.ports: wrong"),
    ],
)
def test_a_docker_that_cannot_be_used_is_one_line(docker: FakeDocker, spoil: dict[str, str], says: str) -> None:
    docker.errors = spoil
    with pytest.raises(DeployError, match=says):
        found(docker, model())


@pytest.mark.parametrize("version", ["2.19.1", "1.29.2", "v2.3"])
def test_an_old_compose_is_refused(docker: FakeDocker, version: str) -> None:
    docker.answers["compose version"] = version
    with pytest.raises(DeployError, match=f"Compose {version} is too old, 2.20 or newer is needed"):
        found(docker, model())


def test_without_a_docker_command_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["compose", "up"]) == 1
    assert capsys.readouterr().err == (
        "lab: Docker is not installed: tools/docker-packages installs it on Debian (as root)\n"
    )


def test_images_that_are_not_built_are_named_with_their_command(docker: FakeDocker) -> None:
    services = model(gateway=service(), prometheus={"image": "prom/prometheus:v3.5.0"})
    assert found(docker, services) == ["not built: llm-lab/gateway:dev; `./lab images gateway` builds them"]


def test_a_port_in_use_names_who_wants_it_and_who_has_it(docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    docker.answers["image inspect"] = "[]"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("GATEWAY_PORT", str(port))
        ports = [{"published": str(port), "target": 8080}]
        (line,) = found(docker, model(gateway=service(ports=ports)))
    assert line.startswith(f"port {port}, which gateway publishes, is in use by ")
    assert f"(process {os.getpid()})" in line
    assert line.endswith("; stop that, or set GATEWAY_PORT")


@pytest.mark.parametrize(
    ("container", "says"), [("other-gateway-1\tother", ["the container other-gateway-1"]), ("llm-gateway-1\tllm", [])]
)
def test_a_containers_port_is_only_free_for_its_own_project(
    docker: FakeDocker, container: str, says: list[str]
) -> None:
    docker.answers |= {"image inspect": "[]", "ps --filter": container}
    ports = [{"published": "8080", "target": 8080}]
    lines = found(docker, model(gateway=service(ports=ports)))
    assert len(lines) == len(says)
    assert all(owner in line for owner, line in zip(says, lines, strict=True))


def test_limits_beyond_dockers_memory_are_refused(docker: FakeDocker) -> None:
    docker.answers["image inspect"] = "[]"
    limits = {"resources": {"limits": {"memory": str(5 * 2**30)}}}
    (line,) = found(docker, model(a=service(deploy=limits), b=service(deploy=limits)))
    assert line.startswith("too little memory: the services' limits add up to 10.0 GiB and Docker has 8.0 GiB")


def test_all_problems_are_told_at_once_and_nothing_starts(
    docker: FakeDocker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = model(gateway=service(secrets=[{"source": "gateway.yaml"}]))
    wanted["secrets"] = {
        "gateway.yaml": {"file": str(secrets.folder({"LLM_LAB_SECRETS": str(tmp_path)}) / "gateway.yaml")}
    }
    docker.errors[" up "] = "it must not start"
    docker.write(wanted)
    assert main(["compose", "up"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "not built",
        f"the secret {tmp_path}/gateway.yaml is missing; `./lab compose secrets` makes them",
    ]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://localhost:8000", "means the container itself there; write host.docker.internal"),
        ("http://host.docker.internal:1", "does not answer"),
        ("nonsense", "does not answer"),
    ],
)
def test_a_vllm_that_no_container_can_ask_is_refused(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("VLLM_URL", url)
    (line,) = found(docker, model())
    assert line.startswith(f"VLLM_URL {url} ")
    assert says in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["start"], "there is no action start; there are up, down, status, logs, secrets"),
        (["gateway", "monitor", "up"], "one capstone at a time, not gateway and monitor"),
        (["kernels", "up"], "there is no capstone kernels for Compose"),
        (["up", "--profile", "prom"], "there is no profile prom"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose", *words]) == 2
    assert says in capsys.readouterr().err
