"""How a schedule is dealt out. What comes of it is in test_cli: the module runs on gevent, in processes of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_bench.load.partition import renumber, split
from llm_bench.workload.schedule import PlannedRequest


@st.composite
def schedules(draw: st.DrawFn) -> list[PlannedRequest]:
    """Conversations of one to four turns, each turn right after the one before."""
    planned: list[PlannedRequest] = []
    for turns in draw(st.lists(st.integers(1, 4), max_size=20)):
        for turn in range(turns):
            follows = len(planned) - 1 if turn else None
            planned.append(
                PlannedRequest(
                    index=len(planned),
                    scheduled_at=0.0,
                    class_name="chat",
                    prompt="text",
                    prompt_tokens=1,
                    max_tokens=1,
                    follows=follows,
                )
            )
    return planned


@given(schedule=schedules(), workers=st.integers(1, 5))
def test_every_request_is_dealt_once_and_conversations_stay_whole(schedule: list[PlannedRequest], workers: int) -> None:
    parts = split(schedule, workers)

    assert sorted(planned.index for part in parts for planned in part) == list(range(len(schedule)))
    for part in parts:
        own = {planned.index for planned in part}
        assert all(planned.follows is None or planned.follows in own for planned in part)
    roots = [sum(planned.follows is None for planned in part) for part in parts]
    assert max(roots) - min(roots) <= 1


@given(schedule=schedules(), workers=st.integers(1, 5))
def test_a_part_is_numbered_from_0_and_keeps_its_links(schedule: list[PlannedRequest], workers: int) -> None:
    for part in split(schedule, workers):
        numbered = renumber(part)

        assert [planned.index for planned in numbered] == list(range(len(part)))
        for before, after in zip(part, numbered, strict=True):
            assert (after.follows is None) == (before.follows is None)
            if after.follows is not None:
                assert part[after.follows].index == before.follows
