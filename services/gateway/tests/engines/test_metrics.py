from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import cast

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.engines import EnginePool
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting


def watched(*engines: EngineSettings) -> tuple[EnginePool, GatewayMetrics]:
    metrics = GatewayMetrics()
    pool = EnginePool(engines, on_added=metrics.expect_engine, on_removed=metrics.forget_engine)
    metrics.observe_scheduler(cast(RequestQueue, None), pool, ())  # without classes it is not looked at
    return pool, metrics


def series(metrics: GatewayMetrics, engine: str) -> dict[str, float]:
    """Return the metrics of an engine by name, each summed over its other labels."""
    found: defaultdict[str, float] = defaultdict(float)
    for line in metrics.text().decode().splitlines():
        if f'{{engine="{engine}"' in line:
            name, value = line.split()
            found[name.partition("{")[0]] += float(value)
    return dict(found)


async def test_an_engine_appears_when_it_is_added_and_disappears_when_it_is_gone() -> None:
    pool, metrics = watched(EngineSettings(url="http://a", name="a"))
    added = pool.add(EngineSettings(url="http://b", name="b", max_in_flight=3, kv_tokens=100))
    pool.mark_up(added)
    permit = pool.take(Waiting(DEFAULT_CLASSES[0], 0.0, prompt_tokens=10, output_tokens=5))
    metrics.engine_failed("b", "body")
    for _ in range(5):
        pool.failed(added)
    pool.eject(added, "no progress for 30 s")
    expected = {
        "gateway_in_flight": 1,
        "gateway_in_flight_limit": 3,
        "gateway_engine_up": 0,
        "gateway_engine_kv_used_tokens": 15,
        "gateway_engine_kv_budget_tokens": 100,
        "gateway_engine_breaker_state": 2,
        "gateway_engine_ejections_total": 1,
        "gateway_engine_failures_total": 1,
    }
    assert {name: value for name, value in series(metrics, "b").items() if "created" not in name} == expected
    drained = pool.remove("b")
    assert series(metrics, "b")["gateway_in_flight"] == 1
    assert permit is not None
    permit.release()
    await drained
    assert series(metrics, "b") == {}
    assert series(metrics, "a")["gateway_engine_up"] == 0


def test_what_is_shed_is_counted() -> None:
    metrics = GatewayMetrics()
    metrics.shed("batch")
    assert metrics.value("gateway_shed_total", {"class": "batch"}) == 1


def test_rare_events_are_exported_as_0_before_the_first_one() -> None:
    metrics = GatewayMetrics()
    pool = EnginePool([EngineSettings(url="http://a", name="a")], on_added=metrics.expect_engine)
    metrics.observe_scheduler(cast(RequestQueue, SimpleNamespace(depth=lambda name: 0)), pool, ("batch",))
    text = metrics.text().decode()
    for reason in ("preempted", "retry", "hedge", "resume"):
        assert f'gateway_reattempts_total{{class="batch",reason="{reason}"}} 0.0' in text
    assert 'gateway_shed_total{class="batch"} 0.0' in text
    assert 'gateway_engine_failures_total{engine="a",phase="connect"} 0.0' in text
