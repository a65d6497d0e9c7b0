"""The shipped manifests on a real one-node Kubernetes: rollouts, budgets, hangs and saturation, under load.

Needs root, Docker, the images of ./lab images and LLM_LAB_KUBERNETES. LLM_LAB_ROLL_TOKENS is the
length of the streams; deploy/benchmarks/rolling_restart.py is the full measurement.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import pytest
import yaml

from llm_deploy.errors import DeployError
from llm_deploy.kubernetes import render, trial
from llm_deploy.kubernetes.cluster import control, processes
from llm_deploy.kubernetes.cluster.layout import Layout
from llm_deploy.kubernetes.load import Load
from llm_deploy.kubernetes.render import Manifest

TOKENS = int(os.environ.get("LLM_LAB_ROLL_TOKENS", "100"))
STREAMS = 5
MONITOR = "http://127.0.0.1:30960"
SERVICES = ("engine", "router", "gateway", "monitor")
SHORT_GRACE = 8
"""Seconds that a hung engine has, with the 5 s of preStop. Kubernetes 1.20 knows no grace period of a probe."""
LIVENESS_SECONDS = 45.0
"""More than the liveness probe needs to give a container up."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Layout]:
    """Start the cluster, unless it runs already."""
    layout = Layout()
    runs = processes.running("api-server", pids=layout.pids) is not None
    try:
        os.environ["KUBECONFIG"] = str(control.up(layout))
    except DeployError as error:
        pytest.skip(f"no cluster: {error}")
    yield layout
    if not runs:
        control.down(layout)


@pytest.fixture(scope="module")
def items() -> list[Manifest]:
    """Return the laptop overlay. Its engines are given up soon when they hang."""
    found = trial.manifests()
    for item in found:
        if item["kind"] == "StatefulSet" and item["metadata"]["name"] == "engine":
            item["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = SHORT_GRACE
    return found


@pytest.fixture(scope="module")
def key(cluster: Layout, items: list[Manifest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Deploy the overlay and return a client's key."""
    yield trial.deploy(tmp_path_factory.mktemp("secrets"), items)
    trial.remove()


async def under_load(key: str, *actions: Callable[[], object]) -> dict[str, Any]:
    async with Load(trial.GATEWAY, key, rate=10, streams=STREAMS, tokens=TOKENS) as load:
        await asyncio.sleep(2)
        for action in actions:
            await asyncio.to_thread(action)
    return load.summary()


def restarts(pod: str) -> int:
    return int(trial.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"])


def is_ready(pod: str) -> bool:
    return bool(trial.get("pod", pod)["status"]["containerStatuses"][0]["ready"])


async def test_a_client_needs_a_key_and_gets_an_answer(key: str) -> None:
    body = {"model": "main", "prompt": "import os", "max_tokens": 4}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{trial.GATEWAY}/v1/completions", json=body) as response:
            assert response.status == 401
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(f"{trial.GATEWAY}/v1/completions", json=body, headers=headers) as response:
            assert response.status == 200, await response.text()


def test_a_rollout_loses_nothing(key: str) -> None:
    rollouts = [partial(trial.restart, name) for name in ("deployment/gateway", "deployment/router")]
    summary = asyncio.run(under_load(key, *rollouts))
    assert (summary["failed"], summary["cut"]) == (0, 0), summary["why"]
    assert summary["streams"] >= STREAMS


def test_a_drain_of_the_node_loses_nothing(key: str, items: list[Manifest]) -> None:
    grace = max(pod["terminationGracePeriodSeconds"] for item in items if (pod := render.pod_of(item)))
    before = {pod["metadata"]["uid"] for name in SERVICES for pod in trial.pods(name)}
    summary = asyncio.run(under_load(key, partial(trial.drain, f"--grace-period={grace}")))
    assert (summary["failed"], summary["cut"]) == (0, 0), summary["why"]
    assert not before & {pod["metadata"]["uid"] for name in SERVICES for pod in trial.pods(name)}


def test_no_more_pods_are_evicted_than_the_budget_allows(key: str) -> None:
    first, second = (pod["metadata"]["name"] for pod in trial.pods("router"))
    trial.kubectl("cordon", "127.0.0.1")  # so that no replacement starts in between
    try:
        assert '"status":"Success"' in evict(first)
        refused = evict(second)
        assert "disruption budget" in refused, refused
    finally:
        trial.kubectl("uncordon", "127.0.0.1")
    trial.rolled_out("deployment/router")


def evict(pod: str) -> str:
    """Ask for the eviction of a pod, as `kubectl drain` does, and return the API server's answer."""
    name = {"name": pod, "namespace": trial.NAMESPACE}
    path = f"/api/v1/namespaces/{trial.NAMESPACE}/pods/{pod}/eviction"
    body = json.dumps({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": name})
    return trial.kubectl("create", "--raw", path, "-f", "-", stdin=body, check=False)


def test_an_image_that_cannot_start_halts_the_rollout(key: str) -> None:
    before = {pod["metadata"]["name"] for pod in trial.pods("gateway")}
    trial.kubectl("set", "image", "deployment/gateway", "gateway=llm-lab/no-such-image:none")
    try:
        trial.until("the new pod fails", lambda: any("ErrImageNeverPull" in str(pod) for pod in trial.pods("gateway")))
        summary = asyncio.run(under_load(key))
        assert (summary["failed"], summary["cut"]) == (0, 0), summary["why"]
        assert before <= {pod["metadata"]["name"] for pod in trial.pods("gateway")}
    finally:
        trial.kubectl("rollout", "undo", "deployment/gateway")
    trial.rolled_out("deployment/gateway")


def test_a_changed_configuration_rolls_the_pods(key: str, items: list[Manifest]) -> None:
    before = {pod["metadata"]["name"] for pod in trial.pods("router")}
    changed = copy.deepcopy(items)
    (config,) = (one for one in changed if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("router-"))
    name = config["metadata"]["name"]
    config["data"]["router.yaml"] += "queue: 128\n"
    config["metadata"]["name"] = "router-changed"
    text = yaml.safe_dump(
        next(one for one in changed if one["metadata"]["name"] == "router" and "Deploy" in one["kind"])
    )
    trial.apply([config, yaml.safe_load(text.replace(name, "router-changed"))])
    trial.rolled_out("deployment/router")
    assert not before & {pod["metadata"]["name"] for pod in trial.pods("router")}


async def test_a_saturated_engine_is_neither_restarted_nor_taken_out(key: str) -> None:
    (pod,) = (one for one in trial.pods("engine") if one["metadata"]["name"] == "engine-0")
    url = f"http://{pod['status']['podIP']}:8000"
    before = restarts("engine-0")
    body = {"model": "main", "prompt": "import os", "max_tokens": 1900, "ignore_eos": True}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            async with session.post(f"{url}/v1/completions", json=body) as response:
                await response.read()

        asked = [asyncio.create_task(ask()) for _ in range(264)]
        try:
            waiting = 0.0
            seen_ready: list[bool] = []
            deadline = time.monotonic() + LIVENESS_SECONDS
            async with asyncio.timeout(LIVENESS_SECONDS + 60):
                while time.monotonic() < deadline:
                    async with session.get(f"{url}/metrics") as page:
                        lines = (await page.text()).splitlines()
                    found = [float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_waiting{")]
                    waiting = max(waiting, *found)
                    seen_ready.append(await asyncio.to_thread(is_ready, "engine-0"))
                    await asyncio.sleep(1)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
    assert waiting >= 190
    assert len(seen_ready) > 5
    assert all(seen_ready)
    assert restarts("engine-0") == before


def test_a_hung_engine_is_restarted(key: str) -> None:
    before = restarts("engine-1")
    container = trial.get("pod", "engine-1")["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
    process = int(control.docker("inspect", "--format", "{{.State.Pid}}", container))
    os.kill(process, signal.SIGSTOP)
    try:
        trial.until("it is taken out", lambda: not is_ready("engine-1"), 60)
        trial.until("it is restarted", lambda: restarts("engine-1") > before, 180)
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    trial.until("it serves again", lambda: is_ready("engine-1"), 120)


def test_without_pre_stop_and_lame_duck_requests_fail(key: str, items: list[Manifest]) -> None:
    """The negative control, last: the load notices what the two prevent."""
    changed = [item for item in trial.abrupt(items) if item["metadata"]["name"].startswith("gateway")]
    trial.apply([item for item in changed if item["kind"] in ("ConfigMap", "Deployment")])
    trial.rolled_out("deployment/gateway")
    summary = asyncio.run(under_load(key, partial(trial.restart, "deployment/gateway")))
    assert summary["failed"] + summary["cut"] > 0
