"""Requests share the stated prefixes, and nothing else."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llm_bench.errors import ScenarioError
from llm_bench.workload.scenario import Scenario, load_scenario
from llm_bench.workload.schedule import PlannedRequest, draw_mix, draw_schedule

CORPUS = "".join(f"line number {index} of the corpus\n" for index in range(500))
FIVE = {"kind": "fixed", "tokens": 5}


def scenario(count: int = 40, **changes: Any) -> Scenario:
    kind = {"weight": 1, "prompt_tokens": {"kind": "fixed", "tokens": 20}, "output_tokens": FIVE}
    top = {key: changes.pop(key) for key in ("tenants", "prompts", "arrivals") if key in changes}
    return Scenario.model_validate(
        {
            "name": "x",
            "duration": 10,
            "arrivals": {"kind": "constant", "rate": count / 10},
            "classes": {"chat": {**kind, **changes}},
            **top,
        }
    )


def draw(*, salt: str = "s", **changes: Any) -> list[PlannedRequest]:
    return draw_schedule(scenario(**changes), CORPUS, seed=1, salt=salt)


@pytest.mark.parametrize(("share", "shared"), [(1.0, 40), (0.75, 30), (0.5, 20), (0.1, 4)])
def test_exactly_the_stated_share_begins_with_the_prefix(share: float, shared: int) -> None:
    prompts = [p.prompt for p in draw(shared_prefix={"tokens": 100, "share": share})]

    beginnings = Counter(prompt[:300] for prompt in prompts)
    assert beginnings.most_common(1)[0][1] == shared
    assert len(beginnings) == 40 - shared + 1
    assert len({prompt[300:311] for prompt in prompts if len(prompt) > 300}) == shared


def test_variants_take_turns_and_the_prefix_comes_on_top() -> None:
    schedule = draw(shared_prefix={"tokens": 100, "variants": 4})

    assert set(Counter(planned.prompt[:300] for planned in schedule).values()) == {10}
    assert {planned.prompt_tokens for planned in schedule} == {120}
    assert scenario(shared_prefix={"tokens": 100}).longest_request() == 125


def test_the_prefix_of_another_run_is_another() -> None:
    one, other = draw(shared_prefix={"tokens": 100}), draw(shared_prefix={"tokens": 100}, salt="t")

    assert one[0].prompt[:11] != other[0].prompt[:11]


def test_a_turn_holds_all_that_was_said_before() -> None:
    schedule = draw(count=10, turns={"count": {"kind": "fixed", "tokens": 3}, "think": 0.7})

    first, second, third = schedule[3:6]
    assert len(schedule) == 30
    assert (first.follows, second.follows, third.follows) == (None, 3, 4)
    assert (first.scheduled_at, second.scheduled_at, third.scheduled_at) == (1.0, None, None)
    assert (first.think_seconds, second.think_seconds, third.think_seconds) == (0.0, 0.7, 0.7)
    assert third.earlier[:2] == second.earlier
    assert third.earlier[0] == first.prompt
    assert third.earlier[2] == second.prompt
    assert (first.prompt_tokens, second.prompt_tokens, third.prompt_tokens) == (20, 45, 70)
    assert len(first.earlier) == 0
    assert first.session == second.session == third.session != schedule[0].session
    assert scenario(turns={"count": {"kind": "fixed", "tokens": 3}}).longest_request() == 75


def test_conversations_share_their_prefix_and_nothing_else() -> None:
    schedule = draw(
        count=10, turns={"count": {"kind": "uniform", "low": 1, "high": 4}}, shared_prefix={"tokens": 50, "share": 0.5}
    )

    starts = Counter(planned.prompt[:11] for planned in schedule)
    assert starts.most_common(1)[0][1] == 5
    assert len({planned.prompt for planned in schedule}) == len(schedule)


def test_tenants_have_exactly_their_shares_and_models_are_asked_for() -> None:
    schedule = draw(tenants={"big": 3, "small": 1}, model="adapter")

    assert Counter(planned.tenant for planned in schedule) == {"big": 30, "small": 10}
    assert {planned.model for planned in schedule} == {"adapter"}


def test_a_conversation_has_one_tenant() -> None:
    schedule = draw(turns={"count": {"kind": "fixed", "tokens": 2}}, tenants={"a": 1, "b": 1})

    assert all(
        planned.tenant == schedule[planned.follows].tenant for planned in schedule if planned.follows is not None
    )


def test_a_closed_loop_has_thinking_instead_of_times() -> None:
    loop = scenario(arrivals={"kind": "closed", "users": 4, "think": 0.5})

    mix = draw_mix(loop, 1000, CORPUS, seed=1, salt="s")

    assert all(planned.scheduled_at is None for planned in mix)
    assert sum(planned.think_seconds for planned in mix) / 1000 == pytest.approx(0.5, rel=0.1)
    assert loop.rate is None
    with pytest.raises(ScenarioError, match="closed loop"):
        draw_schedule(loop, CORPUS, seed=1, salt="s")


def test_prompts_from_a_file_are_made_unique_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "tell me about trees", "output_tokens": 9}\n{"prompt": "' + "long " * 100 + '"}\n')
    recorded = {"kind": "recorded", "high": 30}

    schedule = draw(prompts={"file": str(path)}, prompt_tokens=recorded, output_tokens=recorded)

    assert len({planned.prompt[:11] for planned in schedule}) == 40
    assert sorted(Counter(planned.prompt[11:] for planned in schedule).items()) == [
        (("long " * 100)[: 30 * 3 - 11], 20),
        ("tell me about trees", 20),
    ]
    assert Counter(planned.max_tokens for planned in schedule) == {9: 20, 1: 20}


def test_recorded_lengths_need_a_record() -> None:
    with pytest.raises(ValueError, match="neither a trace nor a prompt file"):
        scenario(prompt_tokens={"kind": "recorded", "high": 30})


def test_files_are_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: x\nduration: 1\narrivals: {kind: trace, file: t.csv}\nprompts: {file: p.jsonl}\n"
        "classes: {chat: {weight: 1, prompt_tokens: {kind: fixed, tokens: 2}, "
        "output_tokens: {kind: fixed, tokens: 2}}}\n"
    )

    loaded = load_scenario(tmp_path / "s.yaml")

    assert loaded.arrivals.model_dump()["file"] == tmp_path / "t.csv"
    assert loaded.prompts is not None
    assert loaded.prompts.file == tmp_path / "p.jsonl"
