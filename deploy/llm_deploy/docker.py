"""Docker's command line, and the daemon behind it: one that runs already, or as root one of our own.

Our own listens on a Unix socket under .lab/deploy/docker; `stop` ends it by its pid file.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

from llm_deploy.errors import DeployError
from llm_deploy.paths import DEPLOY, STATE

Environment = dict[str, str]
Done = subprocess.CompletedProcess[str]

FOLDER = STATE / "docker"
SOCKET = FOLDER / "docker.sock"
PID_FILE = FOLDER / "docker.pid"
RUNC_WRAPPER = DEPLOY / "images" / "runc-without-oom-score"
START_SECONDS = 60
STOP_SECONDS = 30
OLDEST_COMPOSE = (2, 20)
INSTALL = "tools/docker-packages installs it on Debian (as root)"


def connect() -> Environment:
    """Return the variables with which `docker` reaches a daemon; start our own if none runs and we are root.

    Raises DeployError with one line: no Docker, no rights, no daemon.
    """
    if shutil.which("docker") is None:
        raise DeployError(f"Docker is not installed: {INSTALL}")
    environment = dict(os.environ)
    done = _ask(environment)
    if not done.returncode:
        return environment
    if "permission denied" in done.stderr:
        raise DeployError("this user may not use Docker's daemon: join the group docker and log in again, or be root")
    if "DOCKER_HOST" in os.environ:
        raise DeployError(f"no Docker daemon answers at DOCKER_HOST={os.environ['DOCKER_HOST']}: {reason(done)}")
    environment["DOCKER_HOST"] = f"unix://{SOCKET}"
    if _ask(environment).returncode:
        _start(environment)
    return environment


def choose() -> None:
    """Let this process use our own daemon if that is the one that runs; start none."""
    if "DOCKER_HOST" not in os.environ and _own_pid() is not None and _ask(dict(os.environ)).returncode:
        os.environ["DOCKER_HOST"] = f"unix://{SOCKET}"


def call(*arguments: str, environment: Environment, stdin: IO[bytes] | None = None) -> Done:
    """Run `docker` with these arguments and return its result, whatever its status is."""
    return subprocess.run(
        ("docker", *arguments), env=environment, stdin=stdin, capture_output=True, text=True, check=False
    )


def reason(done: Done) -> str:
    """Return the last line of an error, without its prefix."""
    lines = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()
    return lines[-1].removeprefix("Error response from daemon: ").removeprefix("ERROR: ")


def has_image(image: str, environment: Environment) -> bool:
    return not call("image", "inspect", image, environment=environment).returncode


def require_compose(environment: Environment) -> None:
    """Raise DeployError unless Docker has a Compose that is new enough."""
    oldest = ".".join(map(str, OLDEST_COMPOSE))
    done = call("compose", "version", "--short", environment=environment)
    if done.returncode:
        raise DeployError(f"Docker has no Compose v2 plugin, and {oldest} or newer is needed: {INSTALL}")
    numbers = re.match(r"v?(\d+)\.(\d+)", done.stdout.strip())
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_COMPOSE:
        raise DeployError(f"Compose {done.stdout.strip()} is too old, {oldest} or newer is needed: {INSTALL}")


def stop() -> None:
    """Stop our own daemon and wait for it; do nothing if none runs. Raises DeployError if it does not end."""
    pid = _own_pid()
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _own_pid() is not None:
        if time.monotonic() > deadline:
            raise DeployError(f"Docker's daemon (process {pid}) did not end within {STOP_SECONDS} s")
        time.sleep(0.1)


def _ask(environment: Environment) -> Done:
    return call("version", "--format", "{{.Server.Version}}", environment=environment)


def _start(environment: Environment) -> None:
    if os.geteuid() != 0:
        raise DeployError("no Docker daemon runs: start one (systemctl start docker), or run this as root")
    if shutil.which("dockerd") is None:
        raise DeployError(f"no Docker daemon runs, and dockerd is not installed: {INSTALL}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    log = FOLDER / "dockerd.log"
    with log.open("ab") as output:
        subprocess.Popen(_daemon(), stdout=output, stderr=output, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while _ask(environment).returncode:
        if time.monotonic() > deadline:
            raise DeployError(f"Docker's daemon did not start within {START_SECONDS} s: see {log}")
        time.sleep(0.2)


def _daemon() -> list[str]:
    words = ["dockerd", "--data-root", f"{FOLDER}/data", "--exec-root", f"{FOLDER}/run", "--pidfile", str(PID_FILE)]
    words += ["--host", f"unix://{SOCKET}"]
    if not _can_lower_oom_score():
        words += ["--add-runtime", f"ours={RUNC_WRAPPER}", "--default-runtime", "ours"]
    return words


def _can_lower_oom_score() -> bool:
    """Try it in a process that ends at once: containers inside containers often lack CAP_SYS_RESOURCE."""
    command = ("sh", "-c", "echo -998 > /proc/self/oom_score_adj")
    return not subprocess.run(command, capture_output=True, check=False).returncode


def _own_pid() -> int | None:
    """Return the pid of our daemon if it is alive; its command line guards against a pid that was used again."""
    try:
        pid = int(PID_FILE.read_text())
        alive = str(FOLDER).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if alive else None
