"""Pods whose annotations ask for it, found with the service account that Kubernetes mounts into each pod.

    metadata:
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8000", prometheus.io/path: /metrics}

Without a port, the first one of the pod's containers is taken. The account needs the right to list pods.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from llm_monitor.collect.discovery.sources import read_bounded
from llm_monitor.collect.targets import InvalidTarget, Target, target_of

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ANNOTATION = "prometheus.io/"
APP_LABEL = "app.kubernetes.io/name"
PAGE_PODS = 500
MAX_BYTES = 64 * 2**20


class KubernetesSource:
    """`namespaces` is the monitor's own if empty; "*" means all. `key_file` has the key for the pods' metrics."""

    def __init__(
        self,
        namespaces: Sequence[str] = (),
        *,
        label_selector: str = "",
        key_file: Path | None = None,
        interval: float = 5.0,
        account: Path = ACCOUNT,
        address: str = "",
    ) -> None:
        self.name = "kubernetes"
        self.interval = interval
        self._account = account
        self._address = address
        self._namespaces = namespaces
        self._selector = label_selector
        self._key_file = key_file

    async def find(self) -> list[Target]:
        # The token is read each time, as Kubernetes replaces it before it expires.
        token = await asyncio.to_thread((self._account / "token").read_text)
        namespaces = self._namespaces or [(self._account / "namespace").read_text().strip()]
        headers = {"authorization": f"Bearer {token.strip()}"}
        connector = aiohttp.TCPConnector(ssl=self._trust())
        async with aiohttp.ClientSession(self._base(), headers=headers, connector=connector) as session:
            found = [
                replace(target, key_file=self._key_file)
                for name in namespaces
                for pod in await _pods(session, name, self._selector)
                for target in targets_of_pod(pod)
            ]
        return sorted(found, key=lambda target: target.url)

    def _base(self) -> str:
        if self._address:
            return self._address
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise ValueError("this is no pod of a cluster: KUBERNETES_SERVICE_HOST is not set")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def _trust(self) -> ssl.SSLContext | bool:
        authority = self._account / "ca.crt"
        return ssl.create_default_context(cafile=str(authority)) if authority.exists() else True


async def _pods(session: aiohttp.ClientSession, namespace: str, selector: str) -> list[Mapping[str, Any]]:
    path = "/api/v1/pods" if namespace == "*" else f"/api/v1/namespaces/{namespace}/pods"
    query = {"limit": str(PAGE_PODS), "fieldSelector": "status.phase=Running"}
    if selector:
        query["labelSelector"] = selector
    pods: list[Mapping[str, Any]] = []
    while True:
        async with session.get(path, params=query, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"the API answered with status {response.status} to {path}")
            answer = orjson.loads(await read_bounded(response, MAX_BYTES))
        pods += answer.get("items") or []
        following = (answer.get("metadata") or {}).get("continue")
        if not following:
            return pods
        query["continue"] = following


def targets_of_pod(pod: Mapping[str, Any]) -> Iterator[Target]:
    """Yield the target of a pod that runs and asks to be scraped. A pod with a port that is none is left out."""
    metadata, status, spec = pod.get("metadata") or {}, pod.get("status") or {}, pod.get("spec") or {}
    wishes = metadata.get("annotations") or {}
    host = status.get("podIP")
    if wishes.get(f"{ANNOTATION}scrape") != "true" or status.get("phase") != "Running" or not host:
        return
    ports = [port for container in spec.get("containers") or [] for port in container.get("ports") or []]
    port = wishes.get(f"{ANNOTATION}port") or next((str(port.get("containerPort")) for port in ports), "")
    if not port:
        return
    path = wishes.get(f"{ANNOTATION}path", "/metrics")
    host = f"[{host}]" if ":" in host else host
    labels = {
        "namespace": metadata.get("namespace", ""),
        "pod": metadata.get("name", ""),
        "node": spec.get("nodeName", ""),
        "app": (metadata.get("labels") or {}).get(APP_LABEL, ""),
    }
    shown = {name: value for name, value in labels.items() if value}
    scheme = wishes.get(f"{ANNOTATION}scheme", "http")
    try:
        yield target_of(f"{scheme}://{host}:{port}/{path.removeprefix('/')}", labels=shown)
    except InvalidTarget:
        return
