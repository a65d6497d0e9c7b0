"""A schedule divided among workers, round robin, without splitting a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llm_bench.workload.schedule import PlannedRequest


def split(schedule: Sequence[PlannedRequest], workers: int) -> list[list[PlannedRequest]]:
    """Give each worker the next whole conversation in turn. Indexes stay those of the whole schedule."""
    owner: dict[int, int] = {}
    parts: list[list[PlannedRequest]] = [[] for _ in range(workers)]
    roots = 0
    for planned in schedule:
        if planned.follows is None:
            owner[planned.index] = roots % workers
            roots += 1
        else:
            owner[planned.index] = owner[planned.follows]
        parts[owner[planned.index]].append(planned)
    return parts


def renumber(part: Sequence[PlannedRequest]) -> list[PlannedRequest]:
    """Return the same requests with indexes from 0, as a worker uses them."""
    places = {planned.index: place for place, planned in enumerate(part)}
    return [
        replace(planned, index=place, follows=None if planned.follows is None else places[planned.follows])
        for place, planned in enumerate(part)
    ]
