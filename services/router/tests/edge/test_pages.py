"""The pages of an edge, the admin API, and the signals to the control plane."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from llm_contract.router_metrics import ROUTER_METRICS
from llm_contract.testing import ScriptedEngine
from llm_router.edge.listener import PortTaken, check_port
from llm_router.edge.pages import status as pages
from llm_router.edge.settings import EdgeSettings
from llm_router.settings import ModelSettings
from llm_router.status import ApplicationStatus, Status
from llm_router.testing import MODEL, RunningEdge


class FakeControl:
    """A control plane that remembers what it was asked."""

    def __init__(self, *, target: int = 0, waits_for: str = "") -> None:
        self.deployed: list[dict[str, Any]] = []
        self.scaled: list[tuple[str, int]] = []
        self.reported: list[tuple[str, int]] = []
        self.calls = 0
        self.open_calls = 0
        self.broken = self.hangs = False
        self._application = ApplicationStatus(
            name="engines", kind="engines", status="RUNNING", model=MODEL, target=target, waits_for=waits_for
        )

    def target(self, engines: int) -> None:
        self._application = self._application.model_copy(update={"target": engines})

    async def status(self) -> Status:
        if self.hangs:
            await asyncio.Event().wait()
        if self.broken:
            raise ConnectionError("the controller is gone")
        return Status(applications=(self._application,))

    async def deploy(self, config: dict[str, Any]) -> Any:
        if "applications" not in config:
            raise ValueError("applications: field required")
        self.deployed.append(config)
        return {"changed": ["engines"]}

    async def scale(self, model: str, replicas: int) -> Any:
        if self.broken:
            raise ConnectionError("the controller is gone")
        self.scaled.append((model, replicas))
        return {"model": model, "replicas": replicas}

    async def ask_for_capacity(self, model: str) -> None:
        self.calls += 1
        self.open_calls += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.open_calls -= 1

    async def report_queue(self, model: str, waiting: int) -> None:
        self.reported.append((model, waiting))


async def get(client: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with client.get(url) as response:
        is_json = response.content_type == "application/json"
        return response.status, await (response.json() if is_json else response.text())


async def test_ready_counts_engines_per_model(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as other, RunningEdge(one.url, other.url) as edge:
        assert await get(client, edge.url + "/ready") == (
            200,
            {"status": "ready", "models": {MODEL: {"up": 2, "of": 2}}},
        )
        await one.stop()
        await edge.until(lambda: edge.engines["e0"].ejected)
        assert (await get(client, edge.url + "/ready"))[1]["models"] == {MODEL: {"up": 1, "of": 2}}
        await other.stop()
        await edge.until(lambda: edge.engines["e1"].ejected)
        status, body = await get(client, edge.url + "/ready")
        assert (status, body["error"]["message"]) == (503, f"no engine is up; {MODEL}: 0 of 2 engines")
        assert await get(client, edge.url + "/health") == (200, {"status": "alive"})


async def test_ready_tells_what_engines_wait_for(client: aiohttp.ClientSession) -> None:
    control = FakeControl(target=3, waits_for="2 engines wait for a free GPU")
    async with ScriptedEngine() as engine, RunningEdge(engine.url, control=control) as edge:
        assert (await get(client, edge.url + "/ready"))[1]["models"] == {
            MODEL: {"up": 1, "of": 3, "waits_for": "2 engines wait for a free GPU"}
        }


async def test_a_model_at_zero_is_ready_and_listed(client: aiohttp.ClientSession) -> None:
    async with RunningEdge(control=FakeControl(target=0)) as edge:
        assert (await get(client, edge.url + "/ready"))[0] == 200
        models = (await get(client, edge.url + "/v1/models"))[1]["data"]
        assert [model["id"] for model in models] == [MODEL]
        assert (await get(client, edge.url + f"/v1/models/{MODEL}"))[1]["owned_by"] == "llm-router"
        assert (await get(client, edge.url + "/v1/models/nobody"))[0] == 404


async def test_an_engine_describes_its_model(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        assert (await get(client, edge.url + f"/v1/models/{MODEL}"))[1]["max_model_len"] == 2048
        await engine.stop()
        assert (await get(client, edge.url + f"/v1/models/{MODEL}"))[1]["max_model_len"] == 2048


async def test_what_kuberay_asks_of_a_proxy(client: aiohttp.ClientSession) -> None:
    async with RunningEdge() as edge:
        assert await get(client, edge.url + "/-/healthz") == (200, "success")
        assert (await get(client, edge.url + "/-/routes"))[0] == 200


async def test_every_metric_is_exported_under_its_name(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url) as edge:
        async with client.post(edge.url + "/v1/completions", json={"model": MODEL, "prompt": "x"}) as response:
            assert response.status == 200
        _, page = await get(client, edge.url + "/metrics")
        for metric in ROUTER_METRICS:
            assert f"# TYPE {metric.name} {metric.kind}" in page
        assert f'router_requests_total{{model="{MODEL}",outcome="ok",policy="prefix"}} 1.0' in page
        assert f'router_engine_up{{engine="e0",model="{MODEL}"}} 1.0' in page
        assert 'router_attempts_total{engine="e0"' in page
        assert f'router_ejections_total{{cause="reset",engine="e0",model="{MODEL}"}} 0.0' in page
        assert f'router_broken_streams_total{{ending="error",model="{MODEL}"}} 0.0' in page
        assert f'router_reattempts_total{{model="{MODEL}",reason="retry"}} 0.0' in page
        edge.list()  # the series of an engine that is gone end with it
        _, page = await get(client, edge.url + "/metrics")
        assert 'engine="e0"' not in page


async def test_status_shows_engines_and_the_control_plane(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = FakeControl(target=1)
    async with ScriptedEngine() as engine, RunningEdge(engine.url, control=control) as edge:
        _, body = await get(client, edge.url + "/-/status")
        assert body["models"][0]["engines"][0]["url"] == engine.url
        assert body["control"]["applications"][0]["target"] == 1
        control.broken = True
        monkeypatch.setattr(pages, "FRESH_SECONDS", 0.0)
        _, body = await get(client, edge.url + "/-/status")
        assert body["control_error"] == "ConnectionError: the controller is gone"
        assert body["control"]["applications"][0]["target"] == 1  # as last known


async def test_a_control_plane_that_hangs_holds_up_no_probe(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PATIENCE_SECONDS", 0.05)
    control = FakeControl(target=1)
    control.hangs = True
    async with ScriptedEngine() as engine, RunningEdge(engine.url, control=control) as edge:
        async with asyncio.timeout(20):
            assert (await get(client, edge.url + "/ready"))[1]["models"] == {MODEL: {"up": 1, "of": 1}}
            _, body = await get(client, edge.url + "/-/status")
        assert "does not answer" in body["control_error"]


async def test_a_control_plane_that_slows_down_does_not_delay_what_the_edge_knows(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(pages, "PATIENCE_SECONDS", 60.0)
    control, seldom = FakeControl(target=1), {"signals_interval": 60, "probe_interval": 60}
    async with ScriptedEngine() as engine, RunningEdge(engine.url, control=control, watch=seldom) as edge:
        await get(client, edge.url + "/-/status")
        control.hangs = True
        edge.engines["e0"].ejected = True
        async with asyncio.timeout(20):
            _, body = await get(client, edge.url + "/-/status")
        assert body["control"]["applications"][0]["target"] == 1
        assert "control_error" not in body
        assert body["models"][0]["engines"][0]["up"] is False


async def test_the_status_after_a_change_is_not_the_one_before(client: aiohttp.ClientSession) -> None:
    control = FakeControl(target=1)
    async with RunningEdge(control=control, admin_port=0) as edge:
        assert edge.server.admin_url is not None
        await get(client, edge.url + "/-/status")
        control.target(2)
        async with client.post(edge.server.admin_url + "/-/scale", json={"model": MODEL, "replicas": 2}) as response:
            assert response.status == 200
        _, body = await get(client, edge.url + "/-/status")
        assert body["control"]["applications"][0]["target"] == 2


async def test_changes_are_made_on_the_admin_port_only(client: aiohttp.ClientSession) -> None:
    control = FakeControl()
    async with RunningEdge(control=control, admin_port=0) as edge:
        admin = edge.server.admin_url
        assert admin is not None
        async with client.post(edge.url + "/-/scale", json={"model": MODEL, "replicas": 2}) as response:
            assert response.status == 404
        async with client.post(admin + "/-/scale", json={"model": MODEL, "replicas": 2}) as response:
            assert (response.status, control.scaled) == (200, [(MODEL, 2)])
        async with client.post(admin + "/-/deploy", json={"applications": []}) as response:
            assert (response.status, control.deployed) == (200, [{"applications": []}])
        assert (await get(client, admin + "/-/status"))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "sent", "status", "message"),
    [
        ("/-/scale", {"model": MODEL, "replicas": -1}, {}, 400, "`replicas` must be an integer from 0 on"),
        ("/-/scale", {"model": MODEL, "replicas": True}, {}, 400, "`replicas` must be an integer from 0 on"),
        ("/-/scale", {"replicas": 1}, {}, 400, "`model` must be a string"),
        ("/-/deploy", {}, {}, 400, "applications: field required"),
        ("/-/deploy", {}, {"origin": "https://evil.example"}, 403, "none from web pages"),
        ("/-/deploy", {}, {"host": "evil.example:8001"}, 403, "by IP address"),
    ],
)
async def test_wrong_changes_are_refused(
    client: aiohttp.ClientSession, path: str, body: Any, sent: dict[str, str], status: int, message: str
) -> None:
    async with (
        RunningEdge(control=FakeControl(), admin_port=0) as edge,
        client.post(f"{edge.server.admin_url}{path}", json=body, headers=sent) as response,
    ):
        assert response.status == status
        assert message in (await response.json())["error"]["message"]


async def test_without_a_control_plane_nothing_can_be_changed(client: aiohttp.ClientSession) -> None:
    async with (
        RunningEdge(admin_port=0) as edge,
        client.post(f"{edge.server.admin_url}/-/deploy", json={}) as response,
    ):
        assert response.status == 501


async def test_a_broken_control_plane_says_so(client: aiohttp.ClientSession) -> None:
    control = FakeControl()
    control.broken = True
    async with (
        RunningEdge(control=control, admin_port=0) as edge,
        client.post(f"{edge.server.admin_url}/-/scale", json={"model": MODEL, "replicas": 1}) as response,
    ):
        assert response.status == 500
        assert "the controller is gone" in (await response.json())["error"]["message"]


def test_the_admin_api_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback only"):
        EdgeSettings(admin_host="0.0.0.0")


async def test_a_waiting_request_asks_for_capacity_and_is_served_when_it_comes(client: aiohttp.ClientSession) -> None:
    control = FakeControl()
    async with ScriptedEngine() as engine, RunningEdge(control=control) as edge:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 1}
        task = asyncio.create_task(client.post(edge.url + "/v1/completions", json=body))
        await edge.until(lambda: control.open_calls == 1)
        await edge.until(lambda: (MODEL, 1) in control.reported)
        edge.list(engine.url)
        assert (await task).status == 200
        await edge.until(lambda: control.open_calls == 0)
        await edge.until(lambda: control.reported[-1] == (MODEL, 0))
        assert control.calls == 1


async def test_a_full_engine_is_no_reason_to_ask_for_the_first_one(client: aiohttp.ClientSession) -> None:
    control = FakeControl()
    async with ScriptedEngine() as engine, RunningEdge(engine.url, control=control, model={"max_running": 1}) as edge:
        engine.headers_gate.close()
        body = {"model": MODEL, "prompt": "x", "max_tokens": 1}
        tasks = [asyncio.create_task(client.post(edge.url + "/v1/completions", json=body)) for _ in range(2)]
        await edge.until(lambda: (MODEL, 1) in control.reported)
        assert control.calls == 0
        engine.headers_gate.open()
        assert [(await task).status for task in tasks] == [200, 200]


async def test_a_taken_port_is_named() -> None:
    async with RunningEdge(reuse_port=False) as edge:
        port = int(edge.url.rsplit(":", 1)[1])
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} is in use"):
            async with RunningEdge(port=port, reuse_port=False):
                pass
        with pytest.raises(PortTaken):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


async def test_a_shared_port_is_taken_for_check_port() -> None:
    async with RunningEdge() as edge:
        with pytest.raises(PortTaken):
            check_port("127.0.0.1", int(edge.url.rsplit(":", 1)[1]))


async def test_settings_of_a_model_apply_to_a_running_edge(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningEdge(engine.url, model={"max_running": 1}) as edge:
        engine.headers_gate.close()
        body = {"model": MODEL, "prompt": "x", "max_tokens": 1}
        tasks = [asyncio.create_task(client.post(edge.url + "/v1/completions", json=body)) for _ in range(2)]
        await edge.until(lambda: edge.waiting == 1)
        edge.fleet.set_models([ModelSettings(name=MODEL, max_running=2, policy="p2c")])
        await engine.until(lambda: len(engine.received) == 2)
        engine.headers_gate.open()
        assert [(await task).status for task in tasks] == [200, 200]
        assert edge.sample("router_requests_total", model=MODEL, policy="prefix", outcome="ok") == 2


async def test_the_page_needs_nothing_else(client: aiohttp.ClientSession) -> None:
    async with RunningEdge() as edge:
        _, page = await get(client, edge.url + "/-/")
        assert "--paper" in page  # the style sheet of all pages is inside
        assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
