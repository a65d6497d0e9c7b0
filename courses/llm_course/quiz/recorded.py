"""Trace questions: what a recorded trace of the engine says, as functions of a formula, and the excerpt to read.

    answer: evicted_at(7)            the first shown step in which block 7's cached content is overwritten

A trace is one of the recordings that the pages replay, see `llm_course/traces/recordings.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_course.errors import CourseError
from llm_course.quiz.formula import Functions
from llm_course.traces import files
from llm_course.traces.pack import Event

ITEMS = ("sequences", "admitted")
"""Lists of a step whose items name a request."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace's settings and its steps, as the engine wrote them, under the requests' own ids."""

    start: dict[str, Any]
    steps: list[dict[str, Any]]
    """Every step, in order; `steps[i]["index"] == i`."""
    first: int
    last: int
    """The steps that the question shows."""

    @property
    def shown(self) -> list[dict[str, Any]]:
        return self.steps[self.first : self.last + 1]

    @property
    def functions(self) -> Functions:
        return {
            "evicted_at": self.evicted_at,
            "released_at": self.released_at,
            "preempted_at": self.preempted_at,
            "admitted_at": self.admitted_at,
            "first_token_at": self.first_token_at,
            "tokens_in": self.tokens_in,
            "sequences_in": self.sequences_in,
            "sampled_in": self.sampled_in,
            "prefill_tokens_in": self.prefill_tokens_in,
            "waiting_in": self.waiting_in,
            "owned_in": self.owned_in,
            "computed_of": self.computed_of,
            "cached_tokens_of": self.cached_tokens_of,
            "blocks_of": self.blocks_of,
            "shared_blocks_in": self.shared_blocks_in,
            "evictions_between": self.evictions_between,
            "budget": lambda: int(self.start["max_num_batched_tokens"]),
            "block_size": lambda: int(self.start["block_size"]),
            "num_blocks": lambda: int(self.start["num_blocks"]),
        }

    def evicted_at(self, block: int) -> int:
        """Return the shown step that evicts something and writes new tokens to the block."""
        before = self._first_written(block)
        for step in self.shown:
            evicts = step["index"] > before and self.evictions_between(step["index"] - 1, step["index"]) > 0
            if evicts and self._is_new_in(block, step) and not self._is_hit(block, step):
                return int(step["index"])
        raise CourseError(f"block {block} is not overwritten in steps {self.first} to {self.last}")

    def released_at(self, block: int) -> int:
        """Return the first shown step after which no running sequence names the block any more."""
        owned = False
        for step in self.shown:
            now = any(block in item["block_table"] for item in step["sequences"])
            if owned and not now:
                return int(step["index"])
            owned = now
        raise CourseError(f"block {block} is not given back in steps {self.first} to {self.last}")

    def preempted_at(self, name: str) -> int:
        return self._step_where(lambda step: name in step["preempted"], f"{name} is not preempted")

    def admitted_at(self, name: str) -> int:
        return self._step_where(lambda step: name in [a["id"] for a in step["admitted"]], f"{name} is not admitted")

    def first_token_at(self, name: str) -> int:
        return self._step_where(lambda step: name in step["sampled"], f"{name} samples nothing")

    def tokens_in(self, step: int) -> int:
        return sum(item["num_tokens"] for item in self.steps[step]["sequences"])

    def sequences_in(self, step: int) -> int:
        return len(self.steps[step]["sequences"])

    def sampled_in(self, step: int) -> int:
        return len(self.steps[step]["sampled"])

    def prefill_tokens_in(self, step: int) -> int:
        """Return the tokens of the step that belong to chunks of more than one token."""
        counts = [item["num_tokens"] for item in self.steps[step]["sequences"]]
        return sum(count for count in counts if count > 1)

    def waiting_in(self, step: int) -> int:
        return len(self.steps[step]["waiting"])

    def owned_in(self, step: int) -> int:
        blocks = self.steps[step]["blocks"]
        return int(self.start["num_blocks"] - blocks["free"] - blocks["cached"])

    def computed_of(self, name: str, step: int) -> int:
        """Return how many of the sequence's tokens are computed after the step."""
        item = next(item for item in self.steps[step]["sequences"] if item["id"] == name)
        return int(item["first_token"] + item["num_tokens"])

    def cached_tokens_of(self, name: str) -> int:
        for step in self.shown:
            for admitted in step["admitted"]:
                if admitted["id"] == name:
                    return int(admitted["cached_tokens"])
        raise CourseError(f"{name} is not admitted in steps {self.first} to {self.last}")

    def blocks_of(self, name: str, step: int) -> int:
        return next(len(item["block_table"]) for item in self.steps[step]["sequences"] if item["id"] == name)

    def shared_blocks_in(self, step: int) -> int:
        """Return the number of blocks that several of the step's sequences name."""
        named = [block for item in self.steps[step]["sequences"] for block in item["block_table"]]
        return len({block for block in named if named.count(block) > 1})

    def evictions_between(self, first: int, last: int) -> int:
        """Return the evictions of the steps `first < step <= last`."""
        return int(self.steps[last]["blocks"]["evictions"] - self.steps[first]["blocks"]["evictions"])

    def _first_written(self, block: int) -> int:
        return next((s["index"] for s in self.steps if any(block in i["block_table"] for i in s["sequences"])), -1)

    def _is_new_in(self, block: int, step: dict[str, Any]) -> bool:
        """Return whether a sequence of the step names the block, and none did in the step before."""
        before = self.steps[step["index"] - 1]["sequences"] if step["index"] else []
        return any(block in item["block_table"] for item in step["sequences"]) and not any(
            block in item["block_table"] for item in before
        )

    def _is_hit(self, block: int, step: dict[str, Any]) -> bool:
        """Return whether the block holds tokens that the step does not compute, so it was found, not overwritten."""
        size = self.start["block_size"]
        item = next(item for item in step["sequences"] if block in item["block_table"])
        return bool((item["block_table"].index(block) + 1) * size <= item["first_token"])

    def _step_where(self, holds: Any, otherwise: str) -> int:
        for step in self.shown:
            if holds(step):
                return int(step["index"])
        raise CourseError(f"{otherwise} in steps {self.first} to {self.last}")

    def excerpt(self) -> str:
        """Return the shown steps as a Markdown table."""
        rows = [
            "| step | sequence: tokens computed → block table | preempted | waiting | free | cached |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for step in self.shown:
            admitted = {item["id"]: item["cached_tokens"] for item in step["admitted"]}
            work = "; ".join(_work(item, admitted) for item in step["sequences"])
            rest = " | ".join(", ".join(step[field]) or "–" for field in ("preempted", "waiting"))
            rows.append(
                f"| {step['index']} | {work} | {rest} | {step['blocks']['free']} | {step['blocks']['cached']} |"
            )
        return "\n".join(rows)


def read(name: str, steps: tuple[int, int], folder: Path = files.FOLDER) -> Recorded:
    """Read a recording; CourseError if it is no engine's trace, or lacks the steps."""
    try:
        events = files.load(name, folder)
        (start,) = [event for event in events if event["event"] == "start"]
    except (LookupError, ValueError):
        raise CourseError(f"{folder / name}.js: no trace of an engine") from None
    found = _steps(events)
    if not 0 <= steps[0] <= steps[1] < len(found):
        raise CourseError(f"{name}: no trace with steps {steps[0]} to {steps[1]}; it has {len(found)}")
    return Recorded(start, found, *steps)


def _steps(events: Iterable[Event]) -> list[Event]:
    """Return the steps, each with the requests that sampled in it; requests go by their own ids."""
    steps: list[Event] = []
    for event in events:
        if event["event"] == "step":
            steps.append(
                event
                | {name: [item | {"id": _request(item["id"])} for item in event[name]] for name in ITEMS}
                | {"preempted": [_request(item["id"]) for item in event["preempted"]]}
                | {"waiting": [_request(sequence) for sequence in event["waiting"]]}
            )
        elif event["event"] == "result":
            steps[event["index"]]["sampled"] = [_request(item["id"]) for item in event["sampled"]]
    return steps


def _request(sequence: str) -> str:
    """Return `a` for a trace's `a/0`: the requests here have one answer each."""
    return sequence.partition("/")[0]


def _work(item: dict[str, Any], admitted: dict[str, int]) -> str:
    first, count = item["first_token"], item["num_tokens"]
    tokens = f"{first}" if count == 1 else f"{first}–{first + count - 1}"
    found = f", {admitted[item['id']]} cached" if item["id"] in admitted else ""
    return f"{item['id']}: {tokens}{found} → {' '.join(map(str, item['block_table']))}"
