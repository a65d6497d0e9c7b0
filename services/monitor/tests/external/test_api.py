"""The protocol over plain HTTP: what the controller asks, and an error wherever there is no number."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from tests.support_promql import Memory

from llm_monitor.external.api import ROOT, ExternalMetrics, quantity
from llm_monitor.web.queries import Queries

NOW = 1_760_000_000.0
METRICS = {
    "waiting": "sum by (model_name) (vllm:num_requests_waiting)",
    "per_engine": "sum(vllm:num_requests_waiting) / sum(vllm:num_requests_running)",
    "many_to_many": "vllm:num_requests_waiting + on () vllm:num_requests_waiting",
}
Client = TestClient[web.Request, web.Application]
ASK = f"{ROOT}/namespaces/llm/"


class Past(Memory):
    def resolution(self, start: float) -> float:
        return 0.0


@pytest.fixture
def past() -> Past:
    return Past()


@pytest.fixture
async def client(past: Past) -> AsyncIterator[Client]:
    app = web.Application()
    ExternalMetrics(Queries(past, past, clock=lambda: NOW), METRICS, ["llm"]).add_routes(app)
    async with TestClient(TestServer(app)) as found:
        yield found


def waiting(past: Past, value: float, age: float = 1.0, **labels: str) -> None:
    past.add("vllm:num_requests_waiting", [(NOW - age, value)], **labels)


async def test_discovery_names_each_metric(client: Client) -> None:
    answer = await (await client.get(ROOT)).json()
    assert (answer["kind"], answer["groupVersion"]) == ("APIResourceList", "external.metrics.k8s.io/v1beta1")
    assert {each["name"] for each in answer["resources"]} == set(METRICS)
    assert all(each["namespaced"] and each["kind"] == "ExternalMetricValueList" for each in answer["resources"])


async def test_a_value_for_each_series_that_the_selector_matches(client: Client, past: Past) -> None:
    waiting(past, 3, model_name="main", instance="a")
    waiting(past, 4.5, model_name="main", instance="b")
    waiting(past, 9, model_name="small", instance="c")
    answer = await (await client.get(ASK + "waiting", params={"labelSelector": "model_name=main"})).json()
    assert answer == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": "waiting",
                "metricLabels": {"model_name": "main"},
                "timestamp": "2025-10-09T08:53:20Z",
                "value": "7500m",
            }
        ],
    }
    assert len((await (await client.get(ASK + "waiting")).json())["items"]) == 2


async def status_of(client: Client, path: str) -> tuple[int, str]:
    """Return the status and Kubernetes's reason."""
    response = await client.get(path)
    answer = await response.json()
    assert (answer["kind"], answer["code"]) == ("Status", response.status)
    return response.status, answer["reason"]


async def test_no_data_is_an_error_and_never_a_zero(client: Client, past: Past) -> None:
    assert await status_of(client, ASK + "waiting") == (503, "ServiceUnavailable")
    waiting(past, 3, age=400, model_name="main")
    assert await status_of(client, ASK + "waiting") == (503, "ServiceUnavailable"), "five minutes old"
    waiting(past, 3, model_name="small")
    assert await status_of(client, ASK + "waiting?labelSelector=model_name%3Dmain") == (503, "ServiceUnavailable")


async def test_a_target_that_stopped_answering_has_no_data(client: Client, past: Past) -> None:
    past.add("vllm:num_requests_waiting", [(NOW - 2, 3), (NOW - 1, math.nan)], model_name="main")
    assert await status_of(client, ASK + "waiting") == (503, "ServiceUnavailable")


async def test_values_that_are_no_numbers_are_errors(client: Client, past: Past) -> None:
    waiting(past, 0, instance="a")
    past.add("vllm:num_requests_running", [(NOW - 1, 0)], instance="a")
    assert await status_of(client, ASK + "per_engine") == (503, "ServiceUnavailable"), "0/0"
    waiting(past, 1, instance="b")
    assert await status_of(client, ASK + "many_to_many") == (503, "ServiceUnavailable"), "not evaluable"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        (ASK + "unknown", 404, "NotFound"),
        (f"{ROOT}/namespaces/other/waiting", 403, "Forbidden"),
        (ASK + "waiting?labelSelector=a=b=c", 400, "BadRequest"),
    ],
)
async def test_wrong_requests(client: Client, past: Past, path: str, status: int, reason: str) -> None:
    waiting(past, 3)
    assert await status_of(client, path) == (status, reason)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0m"), (7.5, "7500m"), (0.0001, "1m"), (0.95, "950m"), (-2, "-2000m")]
)
def test_quantities_are_exact_in_thousandths(value: float, text: str) -> None:
    assert quantity(value) == text
