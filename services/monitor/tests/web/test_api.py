"""Prometheus's HTTP API, as Grafana asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.support_samples import BEGIN, Samples

from llm_monitor.boards.metrics import exported
from llm_monitor.web.api import PrometheusApi
from llm_monitor.web.app import make_app
from llm_monitor.web.export import ExportPages
from llm_monitor.web.queries import Queries

END = BEGIN + 10


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    samples = Samples()
    for second in range(11):
        for instance in ("a", "b"):
            samples.put(BEGIN + second, "vllm:num_requests_running", second, instance=instance, job="engine")
        samples.put(BEGIN + second, "odd", float("nan") if second == 10 else float("inf"), job="x", instance="x")
    queries = Queries(samples, samples, clock=lambda: END)
    rows: list[dict[str, Any]] = [{"health": "up"}]
    api = PrometheusApi(queries, exported(), targets=lambda: rows, rules=list, alerts=list)
    app = make_app([api, ExportPages(queries)], host="127.0.0.1", names=[], keys=[])
    async with TestClient(TestServer(app)) as found:
        yield found


async def data(client: TestClient[Any, Any], path: str, **query: str) -> Any:
    response = await client.get(f"/api/v1/{path}", params=query)
    body = await response.json()
    assert (response.status, body["status"]) == (200, "success"), body
    return body["data"]


async def test_an_instant_query(client: TestClient[Any, Any]) -> None:
    found = await data(client, "query", query="sum(vllm:num_requests_running)", time=str(BEGIN + 4))
    assert found == {"resultType": "vector", "result": [{"metric": {}, "value": [BEGIN + 4, "8"]}]}


async def test_a_range_query_by_post(client: TestClient[Any, Any]) -> None:
    form = {
        "query": 'vllm:num_requests_running{instance="a"}',
        "start": str(BEGIN),
        "end": str(BEGIN + 4),
        "step": "2s",
    }
    response = await client.post("/api/v1/query_range", data=form)
    (series,) = (await response.json())["data"]["result"]
    assert series["metric"] == {"__name__": "vllm:num_requests_running", "instance": "a", "job": "engine"}
    assert series["values"] == [[BEGIN, "0"], [BEGIN + 2, "2"], [BEGIN + 4, "4"]]


async def test_infinite_values_have_prometheus_text(client: TestClient[Any, Any]) -> None:
    found = await data(client, "query", query="odd", time=str(BEGIN + 9))
    assert found["result"][0]["value"][1] == "+Inf"


async def test_series_labels_and_values(client: TestClient[Any, Any]) -> None:
    assert len(await data(client, "series", **{"match[]": 'vllm:num_requests_running{job="engine"}'})) == 2
    assert await data(client, "labels") == ["__name__", "instance", "job"]
    assert await data(client, "label/instance/values") == ["a", "b", "x"]
    assert await data(client, "label/job/values", **{"match[]": "odd"}) == ["x"]


async def test_metadata_targets_and_build(client: TestClient[Any, Any]) -> None:
    found = await data(client, "metadata")
    assert found["vllm:num_requests_running"][0]["type"] == "gauge"
    assert (await data(client, "targets"))["activeTargets"] == [{"health": "up"}]
    assert await data(client, "rules") == {"groups": []}
    assert await data(client, "alerts") == {"alerts": []}
    assert (await data(client, "status/buildinfo"))["application"] == "llm-monitor"


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("query", {}, "query is missing"),
        ("query", {"query": "sum("}, "in 'sum('"),
        ("query", {"query": "up", "time": "soon"}, "time is 'soon'"),
        ("query", {"query": "up", "time": "nan"}, "time is 'nan'"),
        ("query_range", {"query": "up", "start": "2", "end": "1", "step": "1"}, "end is before start"),
        ("query_range", {"query": "up", "start": "1", "end": "2", "step": "0"}, "step is '0'"),
        ("query_range", {"query": "up", "start": "1", "end": "9e9", "step": "1"}, "at most 11000 steps"),
        ("series", {}, "match[] is missing"),
        ("series", {"match[]": "sum(up)"}, "is a selector"),
        ("series", {"match[]": 'up{a=~"("}'}, "up{a=~"),
    ],
)
async def test_a_wrong_request_is_told(
    client: TestClient[Any, Any], path: str, query: dict[str, str], message: str
) -> None:
    response = await client.get(f"/api/v1/{path}", params=query)
    body = await response.json()
    assert (response.status, body["errorType"]) == (400, "bad_data")
    assert message in body["error"]


async def test_export_as_csv_and_parquet(client: TestClient[Any, Any]) -> None:
    query = {"query": 'vllm:num_requests_running{instance="a"}', "start": str(BEGIN), "end": str(END)}
    text = await (await client.get("/api/export", params=query)).text()
    assert text.splitlines()[0] == "time,value,metric,instance,job"
    assert len(text.splitlines()) == 11
    evaluated = await (await client.get("/api/export", params={**query, "step": "5"})).text()
    assert [line.split(",")[1] for line in evaluated.splitlines()[1:]] == ["0.0", "5.0", "10.0"]
    parquet = await (await client.get("/api/export", params={**query, "format": "parquet"})).read()
    assert parquet[:4] == b"PAR1"
    shown = {"board": "engines", "panel": "running", "by": "engine", "start": str(BEGIN), "end": str(END)}
    panel = await (await client.get("/api/export", params=shown)).text()
    assert panel.splitlines()[0] == "time,value,metric,instance"
    assert panel.splitlines()[1].endswith(",0.0,running,a")
    assert (await client.get("/api/export", params={**shown, "panel": "none"})).status == 400
    refused = await client.get("/api/export", params={**query, "format": "xlsx"})
    assert refused.status == 400


async def test_grafana_gets_an_answer_to_rfc_3339(client: TestClient[Any, Any]) -> None:
    found = await data(client, "query", query="vllm:num_requests_running", time="2027-01-15T08:00:04Z")
    assert found["result"][0]["value"][1] == "4"
