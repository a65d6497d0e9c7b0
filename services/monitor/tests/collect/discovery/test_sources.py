"""Files, HTTP addresses and a Kubernetes API as sources of targets."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from llm_monitor.collect.discovery import Discovery, FileSource, HttpSource, KubernetesSource
from llm_monitor.collect.discovery.groups import targets_of
from llm_monitor.collect.discovery.kubernetes import targets_of_pod
from llm_monitor.collect.targets import InvalidTarget, Target, target_of
from llm_monitor.metrics import MonitorMetrics


@asynccontextmanager
async def served(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


ROUTER_GROUP = {
    "targets": ["10.0.0.1:8000"],
    "labels": {"__scheme__": "https", "__metrics_path__": "/m", "__other": "x", "model": "m", "engine": "e0"},
}


def test_a_group_becomes_targets() -> None:
    (target,) = targets_of([ROUTER_GROUP], "engine")
    assert target == Target("https://10.0.0.1:8000/m", "engine", (("engine", "e0"), ("model", "m")))
    assert targets_of([{"targets": ["a:1", "b:1"], "labels": {"job": "gateway"}}], "engine")[1].job == "gateway"
    assert targets_of([]) == []


@pytest.mark.parametrize(
    "groups",
    [
        {}, None, ["a:1"], [{}], [{"targets": "a:1"}], [{"targets": [1]}], [{"targets": ["a/b"]}],
        [{"targets": ["http://a"]}], [{"targets": ["a:1"], "labels": {"x": 1}}], [{"targets": ["a:1"], "labels": []}],
        [{"targets": [f"a:{number}" for number in range(1, 2000)]}],
    ],
)  # fmt: skip
def test_groups_in_another_form_are_refused(groups: Any) -> None:
    with pytest.raises(InvalidTarget):
        targets_of(groups)


async def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text("- targets: [a:1]\n  labels: {job: engine}\n")
    source = FileSource(path)
    assert [target.url for target in await source.find()] == ["http://a:1/metrics"]
    path.write_text('[{"targets": ["b:1"]}]')
    os.utime(path, ns=(1, 1))
    assert [target.url for target in await source.find()] == ["http://b:1/metrics"]
    path.write_text("")
    assert await source.find() == []


async def test_an_address_is_asked() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.path == "/-/targets"
        return web.json_response([ROUTER_GROUP])

    async with served(answer) as url:
        assert [target.labels[0] for target in await HttpSource(url).find()] == [("engine", "e0")]
        assert HttpSource(f"{url}/-/targets").name == f"{url}/-/targets"


class Told:
    def __init__(self) -> None:
        self.targets: list[list[str]] = []

    def __call__(self, targets: list[Target]) -> None:
        self.targets.append([target.url for target in targets])


async def test_a_source_that_fails_keeps_its_targets_and_says_why(tmp_path: Path) -> None:
    path, told, metrics = tmp_path / "targets.yaml", Told(), MonitorMetrics()
    path.write_text("- targets: [a:1]\n")
    source = FileSource(path)
    discovery = Discovery([source], told, static=[target_of("s:1")], metrics=metrics)
    await discovery.look(source)
    await discovery.look(source)
    for broken in ("- targets: [", "- targets: 7\n", "\x00"):
        path.write_text(broken)
        await discovery.look(source)
        assert str(path) in discovery.errors[source.name]
    path.unlink()
    await discovery.look(source)
    assert "No such file" in discovery.errors[source.name]
    assert told.targets == [["http://s:1/metrics", "http://a:1/metrics"]], "told once, and nothing is taken away"
    assert f'monitor_discovery_failures_total{{source="{path}"}} 4.0' in metrics.render().decode()
    path.write_text("- targets: [b:1]\n")
    await discovery.look(source)
    assert discovery.errors == {}
    assert told.targets[-1] == ["http://s:1/metrics", "http://b:1/metrics"]


@pytest.mark.parametrize(("status", "body"), [(500, b"[]"), (200, b"<html>"), (200, b"[" * 5_000_000), (302, b"")])
async def test_an_address_that_answers_badly_fails(status: int, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    async with served(answer) as url:
        discovery = Discovery([], Told())
        await discovery.look(HttpSource(url))
        assert url in discovery.errors[f"{url}/-/targets"]


def pod(**changes: Any) -> dict[str, Any]:
    wishes = {"prometheus.io/scrape": "true", "prometheus.io/port": "9000", **changes.pop("annotations", {})}
    return {
        "metadata": {
            "name": "engine-0",
            "namespace": "llm",
            "annotations": {name: value for name, value in wishes.items() if value is not None},
            "labels": {"app.kubernetes.io/name": "engine"},
        },
        "spec": {"nodeName": "n1", "containers": [{}, {"ports": [{"containerPort": 8000}]}]},
        "status": {"phase": "Running", "podIP": "10.1.2.3", **changes},
    }


def test_a_pod_that_asks_for_it_is_a_target() -> None:
    (target,) = targets_of_pod(pod())
    assert target.url == "http://10.1.2.3:9000/metrics"
    assert dict(target.labels) == {"namespace": "llm", "pod": "engine-0", "node": "n1", "app": "engine"}
    assert [
        found.url for found in targets_of_pod(pod(annotations={"prometheus.io/port": None, "prometheus.io/path": "/m"}))
    ] == ["http://10.1.2.3:8000/m"]
    assert [found.url for found in targets_of_pod(pod(podIP="fd00::1"))] == ["http://[fd00::1]:9000/metrics"]


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": {"prometheus.io/scrape": "false"}},
        {"annotations": {"prometheus.io/port": "x"}},
        {"phase": "Pending"},
        {"podIP": None},
    ],
)
def test_other_pods_are_none(changes: dict[str, Any]) -> None:
    assert list(targets_of_pod(pod(**changes))) == []


async def test_a_cluster_is_asked_page_by_page_with_the_mounted_account(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "namespace").write_text("llm")
    asked: list[tuple[str, str]] = []

    async def api(request: web.Request) -> web.Response:
        if request.headers["authorization"] != "Bearer secret":
            return web.Response(status=401)
        asked.append((request.path, request.query.get("continue", "")))
        assert request.query["labelSelector"] == "a=b"
        if not asked[-1][1]:
            return web.json_response({"items": [pod()], "metadata": {"continue": "more"}})
        return web.json_response({"items": [pod(podIP="10.1.2.4"), pod(phase="Succeeded")], "metadata": {}})

    async with served(api) as url:
        source = KubernetesSource(label_selector="a=b", account=tmp_path, address=url)
        assert [found.instance for found in await source.find()] == ["10.1.2.3:9000", "10.1.2.4:9000"]
        assert asked == [("/api/v1/namespaces/llm/pods", ""), ("/api/v1/namespaces/llm/pods", "more")]
        (tmp_path / "token").write_text("old")
        discovery = Discovery([], Told())
        await discovery.look(KubernetesSource(["*"], label_selector="a=b", account=tmp_path, address=url))
        assert discovery.errors == {"kubernetes": "kubernetes: the API answered with status 401 to /api/v1/pods"}


async def test_outside_of_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("n")
    with pytest.raises(ValueError, match="no pod"):
        await KubernetesSource(account=tmp_path).find()
