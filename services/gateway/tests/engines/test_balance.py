from __future__ import annotations

import random
from collections import Counter

import pytest

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.engines import BalancingName, Engine, EnginePool
from llm_gateway.engines.balance import AFFINITY_SLACK, make_balancer, work
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.waiting import Waiting


def engines(count: int, slots: int = 8) -> list[Engine]:
    return EnginePool([EngineSettings(url=f"http://e{index}", max_in_flight=slots) for index in range(count)]).engines


def request(session: str | None = None, prefix: tuple[int, ...] = ()) -> Waiting:
    return Waiting(DEFAULT_CLASSES[0], 0.0, session=session, prefix=prefix)


def counts(name: BalancingName, among: list[Engine], requests: list[Waiting]) -> Counter[str]:
    balancer = make_balancer(name, random.Random(1))
    return Counter(balancer.choose(among, one).name for one in requests)


@pytest.mark.parametrize("name", ["least_loaded", "p2c", "session", "prefix"])
def test_all_equal_engines_get_their_share(name: BalancingName) -> None:
    found = counts(name, engines(4), [request() for _ in range(4000)])
    assert len(found) == 4
    assert all(900 <= count <= 1100 for count in found.values()), found


def test_of_two_the_one_with_less_predicted_work_is_chosen() -> None:
    busy, free = engines(2)
    busy.budget.used, free.budget.used = 1000, 10
    free.in_flight = 5
    assert work(free) < work(busy)
    assert counts("p2c", [busy, free], [request()] * 50) == {free.name: 50}


def test_the_engine_with_the_most_work_of_all_is_never_chosen() -> None:
    among = engines(5)
    for index, engine in enumerate(among):
        engine.budget.used = 100 * index
    found = counts("p2c", among, [request()] * 2000)
    assert among[-1].name not in found
    assert found[among[0].name] > found[among[1].name] > found[among[2].name] > found[among[3].name] > 0


def test_where_no_tokens_are_predicted_requests_count() -> None:
    one, other = engines(2)
    one.in_flight = 1
    assert counts("p2c", [one, other], [request()] * 20) == {other.name: 20}


def test_a_session_stays_and_moves_only_if_its_engine_goes() -> None:
    among = engines(5)
    sessions = [request(session=f"user-{number}") for number in range(1000)]
    balancer = make_balancer("session", random.Random(0))
    home = {one.session: balancer.choose(among, one) for one in sessions}
    assert all(balancer.choose(among[::-1], one) is home[one.session] for one in sessions)
    assert all(150 <= count <= 250 for count in Counter(engine.name for engine in home.values()).values())
    left = among[1:]
    assert all(balancer.choose(left, one) is home[one.session] for one in sessions if home[one.session] in left)


def test_the_longest_match_wins_and_is_learned() -> None:
    among = engines(3)
    among[0].prefixes.add((1, 2))
    among[2].prefixes.add((1, 2, 3))
    assert counts("prefix", among, [request(prefix=(1, 2, 3, 4))]) == {among[2].name: 1}
    assert among[2].prefixes.match((1, 2, 3, 4)) == 4
    assert among[0].prefixes.match((1, 2, 3, 4)) == 2


def test_among_equal_matches_the_one_with_least_work() -> None:
    among = engines(3)
    for engine in among[:2]:
        engine.prefixes.add((1,))
    among[0].budget.used = 5
    assert counts("prefix", among, [request(prefix=(1, 9))]) == {among[1].name: 1}


@pytest.mark.parametrize("kind", ["prefix", "session"])
def test_the_load_guard_lets_others_step_in(kind: BalancingName) -> None:
    among = engines(2, slots=10)
    one = request(session="s", prefix=(1,))
    balancer = make_balancer(kind, random.Random(0))
    home = balancer.choose(among, one)
    other = next(engine for engine in among if engine is not home)
    home.in_flight = home.budget.used = int(AFFINITY_SLACK * 10)
    assert balancer.choose(among, one) is home
    home.in_flight += 1
    assert balancer.choose(among, one) is other
    home.in_flight = home.budget.used = 0
    assert balancer.choose(among, one) is home or kind == "prefix"


def test_a_prompt_that_all_clients_send_does_not_make_a_hotspot() -> None:
    pool = EnginePool(
        [EngineSettings(url=f"http://e{index}", max_in_flight=10) for index in range(4)], source=random.Random(3)
    )
    for engine in pool.engines:
        pool.mark_up(engine)
    for taken in range(1, 41):
        assert pool.take(request(prefix=(1, 2))) is not None
        loads = [engine.load for engine in pool.engines]
        assert max(loads) - min(loads) <= AFFINITY_SLACK + 0.1, taken


def test_prefixes_are_wanted_only_where_there_is_a_choice() -> None:
    two = [EngineSettings(url="http://a"), EngineSettings(url="http://b")]
    assert EnginePool(two).wants_prefix
    assert not EnginePool(two[:1]).wants_prefix
    assert not EnginePool(two, balancing="p2c").wants_prefix
