"""A Compose project of a test: a name, ports and secrets of its own, and nothing left at its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.support_docker import docker, skip
from support import any_port

from llm_deploy.compose import secrets
from llm_deploy.compose.stack import Stack, stack_of
from llm_deploy.images.catalog import tag
from llm_deploy.paths import ROOT

PORTS = ("GATEWAY", "GATEWAY_ADMIN", "ROUTER", "ENGINE", "MONITOR", "BENCH", "DOCS", "PROMETHEUS", "ALERTMANAGER")
HEALTHY_SECONDS = 30.0
"""Bar for a stack on a machine of its own."""
STAND_INS = {
    "prometheus": (("prometheus", "promtool"), ["prometheus"]),
    "alertmanager": (("prometheus-alertmanager", "amtool"), ["prometheus-alertmanager"]),
    "redis": (("redis-server", "redis-cli"), []),
}
"""Public images that no registry serves here: Debian's programs, and the image's entry point."""

TEMPLATES = Path("/usr/share/prometheus/alertmanager")
"""Debian's Alertmanager reads its default templates from there; the public image has them inside."""


@dataclass(frozen=True)
class Project:
    """A Compose file under a name of its own."""

    stack: Stack
    variables: dict[str, str]

    @property
    def name(self) -> str:
        return self.variables["COMPOSE_PROJECT_NAME"]

    def lab(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `./lab` as a user does."""
        return self._run(sys.executable, "-m", "llm_deploy", *words)

    def compose(self, *words: str) -> str:
        """Run `docker compose` and return what it prints. Raise AssertionError, with its reason, if it fails."""
        done = self._run(*self.stack.command(*words))
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-3000:]}\n{self.logs()}"
        return done.stdout

    def up(self, *services: str) -> float:
        """Start the services, all without a name, and return the seconds until they were healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", *services)
        return time.monotonic() - began

    def logs(self) -> str:
        return self._run(*self.stack.command("logs", "--tail", "20")).stdout[-6000:]

    def left(self) -> list[str]:
        """Return the containers, networks and volumes that there are of this project."""
        kinds = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
        label = f"label=com.docker.compose.project={self.name}"
        return [line for kind in kinds for line in docker(*kind, "--quiet", "--filter", label).split()]

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.variables[f'{service.upper()}_PORT']}"

    def key(self, name: str) -> str:
        return (Path(self.variables["LLM_LAB_SECRETS"]) / f"{name}.key").read_text().strip()

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.stack.variables, **self.variables, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)


@contextmanager
def project(
    folder: Path, capstone: str | None = None, profiles: Sequence[str] = (), **variables: str
) -> Iterator[Project]:
    """Yield a project with its secrets made. All that it started is gone afterwards."""
    secrets.make(folder / "secrets")
    ports = {f"{name}_PORT": str(any_port()) for name in PORTS}
    name = f"llm-test-{capstone or 'all'}-{os.getpid()}"
    own = {"COMPOSE_PROJECT_NAME": name, "LLM_LAB_SECRETS": str(folder / "secrets"), **ports, **variables}
    made = Project(stack_of(capstone, profiles), own)
    try:
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


@contextmanager
def stand_ins(folder: Path, *names: str) -> Iterator[dict[str, str]]:
    """Yield the variables that name images with Debian's programs in place of public images, on top of one of ours."""
    programs = [program for name in names for program in STAND_INS[name][0]]
    if missing := [program for program in programs if shutil.which(program) is None]:
        skip(f"{', '.join(missing)} are not there; tools/debian-packages installs them")
    images = {f"{name.upper()}_IMAGE": f"llm-test-{name}:{os.getpid()}" for name in names}
    try:
        for name, image in zip(names, images.values(), strict=True):
            _build(name, image, folder / name)
        yield images
    finally:
        docker("image", "rm", "--force", *images.values())


def _build(name: str, image: str, folder: Path) -> None:
    programs, entry = STAND_INS[name]
    for made in ("lib", "templates"):
        (folder / made).mkdir(parents=True)
    for program in programs:
        path = shutil.which(program) or program
        shutil.copy(path, folder)
        linked = subprocess.run(("ldd", path), check=False, capture_output=True, text=True).stdout
        for library in re.findall(r"=> (/\S+)", linked):
            shutil.copy(library, folder / "lib")
    if name == "alertmanager":
        shutil.copytree(TEMPLATES, folder / "templates", dirs_exist_ok=True)
    lines = (
        f"FROM {tag('gateway')}",
        "USER 0",
        f"COPY {' '.join(programs)} /usr/bin/",
        "COPY lib /opt/lib",
        f"COPY templates {TEMPLATES}",
        "ENV LD_LIBRARY_PATH=/opt/lib",
        f'RUN ["python", "-c", "import os; os.mkdir(\'/{name}\'); os.chown(\'/{name}\', 65534, 65534)"]',
        f"ENTRYPOINT {json.dumps(entry)}",
        "HEALTHCHECK NONE",
    )
    (folder / "Dockerfile").write_text("\n".join(lines))
    docker("build", "--quiet", "--tag", image, str(folder))


def healthy_seconds() -> float:
    """Return the time that a stack has until it is healthy: the bar, and more if others use this machine's cores."""
    return HEALTHY_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def ask(
    url: str, key: str = "", body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Return status and JSON of an answer, or its text."""
    given = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **given})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text
