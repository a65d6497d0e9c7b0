"""A namespace of a Kubernetes cluster, through kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

from llm_deploy.errors import DeployError, UsageError
from llm_deploy.running.container import Container, from_pod
from llm_deploy.running.deployment import Keys

NAMESPACE = "llm"
SECONDS = 60.0


class Cluster:
    """The pods of a namespace. `urls` maps services to the addresses at which this machine reaches them."""

    kind = "kubernetes"

    def __init__(
        self, kubeconfig: Path, name: str = NAMESPACE, keys: Keys | None = None, urls: dict[str, str] | None = None
    ) -> None:
        if not kubeconfig.is_file():
            raise UsageError(f"{kubeconfig} does not exist; give the file that kubectl uses for the cluster")
        self._kubeconfig = kubeconfig
        self.name = name
        self.keys = keys or Keys.read()
        self._urls = urls or {}

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace and return its output. Raises DeployError with the reason in one line."""
        command = ("kubectl", "--kubeconfig", str(self._kubeconfig), "-n", self.name, *words)
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
        except FileNotFoundError:
            raise DeployError("kubectl is not installed; see deploy/README.md, Kubernetes") from None
        except subprocess.TimeoutExpired:
            raise DeployError(f"kubectl {words[0]} did not end within {SECONDS:.0f} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise DeployError(f"kubectl {words[0]} ({self._kubeconfig}): {lines[-1]}")
        return done.stdout

    def items(self, kind: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl("get", kind, "-o", "json"))["items"])

    def containers(self) -> list[Container]:
        pods = [pod for pod in self.items("pods") if _runs(pod)]
        if not pods:
            raise UsageError(f"no pod runs in the namespace {self.name}; `kubectl apply -k` of an overlay starts some")
        return [container for pod in pods for container in from_pod(pod)]

    def url(self, service: str, port: int) -> str:
        """Return the address from --url, or a NodePort of this machine."""
        if service in self._urls:
            return self._urls[service]
        for each in self.items("services"):
            if each["metadata"]["name"] == service:
                for one in each["spec"]["ports"]:
                    if "nodePort" in one and one["port"] == port:
                        return f"http://127.0.0.1:{one['nodePort']}"
        raise DeployError(f"this machine reaches no {service} of {self.name}; give --url {service}=http://…")

    def signal(self, service: str, name: str) -> None:
        self.kubectl("exec", self._pod(service), "--", "python", "-c", f"import os; os.kill(1, {_NUMBERS[name]})")

    def start(self, service: str) -> None:
        """Nothing to do: the Deployment starts another pod."""

    def stop(self, service: str) -> float:
        pod, began = self._pod(service), time.monotonic()
        self.kubectl("delete", "pod", pod, "--wait=true")
        return time.monotonic() - began

    def run_in(self, service: str, *words: str) -> str:
        return self.kubectl("exec", self._pod(service), "--", *words)

    def logs(self, service: str, lines: int = 50) -> str:
        return self.kubectl("logs", self._pod(service), f"--tail={lines}")

    def _pod(self, service: str) -> str:
        for pod in self.items("pods"):
            if _runs(pod) and pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == service:
                return str(pod["metadata"]["name"])
        raise UsageError(f"the namespace {self.name} has no pod of {service}")


def _runs(pod: dict[str, Any]) -> bool:
    """Return whether a pod runs and is to stay: one that terminates is on its way out."""
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


_NUMBERS = {"KILL": 9, "TERM": 15, "CONT": 18, "STOP": 19}
