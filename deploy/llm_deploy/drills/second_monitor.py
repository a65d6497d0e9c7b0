"""A second monitor of the same image and configuration, whose history lies on a disk of a few MiB in memory.

The history of the deployment's own monitor is never at risk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llm_deploy.errors import DeployError
from llm_deploy.running.compose import LABEL, Compose, docker
from llm_deploy.running.deployment import one
from llm_deploy.running.http import ask
from llm_deploy.running.monitor import Monitor
from llm_deploy.running.waiting import eventually

DISK = "8m"
PORT = 9600
READY_SECONDS = 60.0
FILL = "import os; f = open('/data/filler', 'wb', buffering=0)\nwhile True: f.write(os.urandom(1 << 16))"


@dataclass(frozen=True)
class Second:
    monitor: Monitor

    def dashboard(self) -> int:
        return ask(f"{self.monitor.url}/", key=self.monitor.key).status


@contextmanager
def full_disk(deployment: Compose) -> Iterator[Second]:
    """Start the second monitor, wait until it writes its history, and fill its disk."""
    container = _start(deployment)
    try:
        port = docker("port", container, str(PORT)).split()[-1]
        monitor = Monitor(f"http://{port}", deployment.keys.monitor)
        if not eventually(lambda: ask(f"{monitor.url}/ready").status == 200, READY_SECONDS):
            raise DeployError(
                f"the second monitor is not ready: {docker('logs', '--tail', '1', container, merge=True)}"
            )
        if not eventually(lambda: monitor.value("monitor_history_writable") == 1, READY_SECONDS):
            raise DeployError("the second monitor writes no history")
        try:
            docker("exec", container, "python", "-c", FILL)
        except DeployError as full:
            if "No space left" not in str(full):
                raise
        yield Second(monitor)
    finally:
        docker("rm", "--force", "--volumes", container)


def _start(deployment: Compose) -> str:
    """Run the monitor's image with its command and mounts, on its network, and return the container's id."""
    name = one(deployment.containers(), "monitor").name
    found = next(each for each in deployment.inspect() if each["Name"].lstrip("/") == name)
    config = found["Config"]
    words = ["run", "--detach", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    words += ["--network", next(iter(found["NetworkSettings"]["Networks"])), "--publish", f"127.0.0.1::{PORT}"]
    words += ["--memory", "512m", "--label", f"llm-lab.drill={deployment.name}", "--label", f"{LABEL}="]
    words += ["--tmpfs", "/tmp", "--tmpfs", f"/data:size={DISK},uid=10001,gid=10001"]
    for mount in found["Mounts"]:
        if mount["Type"] == "bind" and mount["Destination"] != "/data":
            words += ["--volume", f"{mount['Source']}:{mount['Destination']}:ro"]
    for variable in config["Env"]:
        words += ["--env", variable]
    return docker(*words, config["Image"], *(config["Cmd"] or ())).strip()
