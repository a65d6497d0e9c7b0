"""Commands of ./lab that another project carries out: the course's and the deployment's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from llm_lab import paths
from llm_lab.errors import LabError

COURSE = {
    "docs": "the course's pages, served with reload; docs build, docs check",
    "exercise": "work on an exercise of the course: save, and its tests run",
    "fault": "find a defect in a running engine, and mend it",
    "progress": "what you did in the course so far",
    "quiz": "answer a module's questions in the terminal",
    "cards": "review the cards that are due, or write them as an Anki deck",
    "traces": "record the traces that the pages replay",
}
DEPLOY = {
    "capacity": "engines that a load needs: KV cache, concurrency, queueing margin",
    "drill": "inject a fault into the running stack, and compare with what its runbook says",
    "ready": "check whether a running deployment is ready for production",
    "autoscale": "certificates for the autoscaler's metrics; a day of scaling, simulated",
    "observability": "write the rules and boards for Prometheus and Grafana from the monitor's",
    "cluster": "a one-node Kubernetes on this machine, for tests: up, down, status, load",
    "compose": "run a capstone, or all of them, in containers: up, down, status, logs, secrets",
    "images": "build the container images, measure them, list what is in them",
}
PACKAGES = {**dict.fromkeys(COURSE, "llm_course"), **dict.fromkeys(DEPLOY, "llm_deploy")}
"""Command -> import package that carries it out."""
COMMANDS = COURSE | DEPLOY


def run(words: Sequence[str]) -> int:
    """Hand a command line over to the project of its first word and return its exit status."""
    command = (str(paths.PYTHON), "-m", PACKAGES[words[0]], *words)
    return subprocess.run(command, cwd=paths.ROOT, check=False).returncode


def engine_environment(*words: str) -> dict[str, str]:
    """Return the variables that make an engine the one whose folder the course's command prints; LabError if it fails.

    Processes that the engine starts have them as well.
    """
    command = (str(paths.PYTHON), "-m", "llm_course", *words)
    done = subprocess.run(command, cwd=paths.ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(done.stderr.strip().removeprefix("lab: "))
    path = (done.stdout.strip(), os.environ.get("PYTHONPATH", ""))
    return {"PYTHONPATH": os.pathsep.join(filter(None, path))}
