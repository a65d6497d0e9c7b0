from __future__ import annotations

import pytest

from llm_proxy.upstream.breaker import BreakerSettings
from llm_proxy.upstream.signals import Signals
from llm_router.fleet import Engine, EngineInfo, Fleet, FleetListener
from llm_router.fleet.fleet import Cause
from llm_router.fleet.targets import targets
from llm_router.settings import ModelSettings
from llm_router.testing import MODEL, fleet_of, info


class Heard(FleetListener):
    """The events as lines."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def room(self, model: str) -> None:
        self.events.append(f"room {model}")

    def ejected(self, engine: Engine, cause: Cause) -> None:
        self.events.append(f"ejected {engine.info.id} {cause}")

    def delisted(self, engine: Engine) -> None:
        self.events.append(f"delisted {engine.info.id}")

    def gone(self, engine: Engine) -> None:
        self.events.append(f"gone {engine.info.id}")


def ids(engines: list[Engine]) -> list[str]:
    return [engine.info.id for engine in engines]


def test_engine_info_survives_json() -> None:
    one = EngineInfo(id="a", model="m", url="http://a", version="v", gpus=("0", "1"), node="n", pid=1, engine_pid=2)
    assert EngineInfo.from_dict({**one.to_dict(), "a_fact_of_next_year": 1}) == one


def test_each_source_has_its_own_list() -> None:
    fleet = Fleet()
    fleet.set_models([ModelSettings(name="a"), ModelSettings(name="b")])
    fleet.set_engines("engines-a", [info("a0", model="a"), info("a1", model="a")])
    fleet.set_engines("engines-b", [info("b0", model="b")])
    fleet.set_engines("engines-a", [info("a1", model="a")])
    assert (ids(fleet.candidates("a")), ids(fleet.candidates("b"))) == (["a1"], ["b0"])
    fleet.set_engines("engines-a", [])
    assert ids(fleet.engines()) == ["b0"]


def test_engines_are_full_at_their_models_limit() -> None:
    fleet = fleet_of(2, max_running=1)
    slot = fleet.take(fleet.candidates(MODEL)[0])
    assert ids(fleet.candidates(MODEL)) == ["e1"]
    slot.release()
    slot.release()
    assert ids(fleet.candidates(MODEL)) == ["e0", "e1"]
    fleet.set_models([])
    assert fleet.candidates(MODEL) == []


def test_engines_that_failed_the_request_come_last() -> None:
    fleet = fleet_of(2, max_running=1)
    assert ids(fleet.candidates(MODEL, tried=["e0"])) == ["e1"]
    fleet.take(fleet.engines(MODEL)[1])
    assert fleet.candidates(MODEL, tried=["e0"]) == []  # the other engine is up: its next slot is worth the wait
    assert ids(fleet.candidates(MODEL, tried=["e0", "e1"])) == ["e0"]


def test_a_delisted_engine_leaves_with_its_last_slot() -> None:
    fleet, heard = fleet_of(2), Heard()
    slot = fleet.take(fleet.engines(MODEL)[0])
    fleet.subscribe(heard)
    fleet.set_engines("test", [info("e1")])
    assert ids(fleet.candidates(MODEL)) == ["e1"]
    assert ids(fleet.watched()) == ["e1", "e0"]
    slot.release()
    assert ids(fleet.watched()) == ["e1"]
    assert heard.events == ["delisted e0", "gone e0", f"room {MODEL}"]


def test_a_list_that_was_short_for_a_moment_keeps_the_engines_state() -> None:
    fleet = fleet_of(1)
    engine = fleet.engines(MODEL)[0]
    slot = fleet.take(engine)
    fleet.set_engines("test", [])
    fleet.set_engines("test", [info("e0")])
    assert fleet.engines(MODEL) == [engine]
    slot.release()
    assert fleet.watched() == [engine]


def test_of_two_engines_with_one_url_the_newer_one_counts() -> None:
    fleet, url = Fleet(), "http://127.0.0.1:7000"
    fleet.set_models([ModelSettings(name=MODEL)])
    fleet.set_engines("test", [info("dead", url=url)])
    fleet.set_engines("test", [info("dead", url=url), info("new", url=url)])
    assert ids(fleet.engines()) == ["new"]
    fleet.set_engines("test", [info("dead", url=url), info("new", url=url)])
    assert ids(fleet.engines()) == ["new"]
    fleet.set_engines("test", [info("new", url=url)])
    fleet.set_engines("test", [info("dead", url=url)])
    assert ids(fleet.engines()) == ["dead"]  # listed anew, so it is another engine of that name


def test_an_ejected_engine_returns_with_a_good_probe() -> None:
    fleet, heard = fleet_of(2), Heard()
    fleet.subscribe(heard)
    engine = fleet.engines(MODEL)[0]
    fleet.eject(engine, "connect", "connection refused")
    fleet.eject(engine, "health", "3 probes failed: connection refused")
    assert ids(fleet.candidates(MODEL)) == ["e1"]
    assert fleet.why_down(fleet.engines()) == "e0: connection refused"
    fleet.set_engines("test", [info("e0"), info("e1")])  # a stale list changes nothing
    assert ids(fleet.candidates(MODEL)) == ["e1"]
    fleet.restore(engine)
    assert ids(fleet.candidates(MODEL)) == ["e0", "e1"]
    assert heard.events == ["ejected e0 connect", f"room {MODEL}"]


def test_a_breaker_keeps_requests_from_an_engine_that_fails_them() -> None:
    now = 0.0
    fleet = Fleet(clock=lambda: now, breaker=BreakerSettings(consecutive_failures=2, open_seconds=5))
    fleet.set_models([ModelSettings(name=MODEL)])
    fleet.set_engines("test", [info("e0")])
    engine = fleet.engines(MODEL)[0]
    for _ in range(2):
        slot = fleet.take(engine)
        fleet.failed(engine)
        slot.release()
    assert fleet.candidates(MODEL) == []
    assert fleet.why_down([engine]) == "e0: circuit breaker open"
    now = 6.0
    probe = fleet.take(fleet.candidates(MODEL)[0])
    assert fleet.candidates(MODEL) == []
    fleet.succeeded(engine)
    probe.release()
    assert fleet.candidates(MODEL) == [engine]


@pytest.mark.parametrize(("own", "others"), [(0, 3), (2, 1), (9, 0)])
def test_others_are_the_requests_that_this_edge_has_not_sent(own: int, others: int) -> None:
    fleet = fleet_of(1)
    engine = fleet.engines(MODEL)[0]
    engine.observe(Signals(time=0.0, running=2, waiting=1), own)
    assert (engine.others, engine.load) == (others, others)
    engine.observe(None, 0)
    assert engine.load == 0


def test_targets_are_prometheus_target_groups() -> None:
    fleet = Fleet()
    one = EngineInfo(
        id="engine#a", model="m", url="http://10.0.0.1:7000/base", version="12345678", gpus=("0", "1"), node="n1"
    )
    fleet.set_engines("test", [one])
    assert targets(fleet.engines()) == [
        {
            "targets": ["10.0.0.1:7000"],
            "labels": {
                "__scheme__": "http",
                "__metrics_path__": "/base/metrics",
                "model": "m",
                "engine": "engine#a",
                "version": "12345678",
                "node": "n1",
                "gpus": "0,1",
            },
        }
    ]
