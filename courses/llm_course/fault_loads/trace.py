"""Questions to the step trace of an engine with a fault."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any


class Trace:
    def __init__(self, path: Path) -> None:
        """Read the file; a last line that is cut off, as the engine has died, is left out."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        self.steps: list[dict[str, Any]] = [event for event in events if event["event"] == "step"]
        self.requests: list[dict[str, Any]] = [event for event in events if event["event"] == "request"]
        self.finished: list[dict[str, Any]] = [event for event in events if event["event"] == "finish"]
        self.block_size: int = events[0]["block_size"] if events else 0
        self._prompts = {event["id"]: event["prompt_token_ids"] for event in self.requests}

    def prompt(self, name: str) -> list[int]:
        return list(self._prompts[name])

    def preempted(self) -> list[str]:
        """Return the victims of all preemptions, in order."""
        return [each["id"] for step in self.steps for each in step["preempted"]]

    def shared_without_reason(self) -> list[str]:
        """Return who was in a step with a block that another sequence had, without the same tokens up to its end."""
        found: dict[str, None] = {}
        for step in self.steps:
            owners: dict[int, tuple[str, int]] = {}
            for item in step["sequences"]:
                for place, block in enumerate(item["block_table"]):
                    other, its_place = owners.setdefault(block, (item["id"], place))
                    end = (place + 1) * self.block_size
                    if place != its_place or self.prompt(other)[:end] != self.prompt(item["id"])[:end]:
                        found |= {other: None, item["id"]: None}
        return list(found)

    def odd_chunks(self) -> list[str]:
        """Return whose prompts were computed in a chunk that begins inside a block."""
        items = chain.from_iterable(step["sequences"] for step in self.steps)
        return [item["id"] for item in items if item["num_tokens"] > 1 and item["first_token"] % self.block_size]

    def overtaken(self) -> tuple[int, int]:
        """Return for the request at the head of the queue in most steps: these steps, and who was admitted in them."""
        heads: dict[str, list[int]] = {}
        for step in self.steps:
            if step["waiting"]:
                heads.setdefault(step["waiting"][0], []).append(len(step["admitted"]))
        most = max(heads.values(), key=len, default=[])
        return len(most), sum(most)

    def host_blocks_taken_twice(self) -> list[int]:
        """Return the host blocks that were the target of a second copy before the first was copied back."""
        taken: set[int] = set()
        twice = []
        for move, source, target in chain.from_iterable(step["copies"] for step in self.steps):
            if move == "out":
                twice += [target] if target in taken else []
                taken.add(target)
            elif move == "in":
                taken.discard(source)
        return twice

    def found_after_eviction(self) -> list[str]:
        """Return who was given computed blocks that had been evicted, and not computed again, before."""
        gone: set[int] = set()
        found: list[str] = []
        for step in self.steps:
            admitted = {item["id"] for item in step["admitted"] if item["cached_tokens"]}
            found += [item["id"] for item in step["sequences"] if item["id"] in admitted and gone & self._cached(item)]
            gone |= set(step["evicted"])
            gone -= {each[0] for each in step["inserted"]}
        return found

    def _cached(self, item: dict[str, Any]) -> set[int]:
        return set(item["block_table"][: item["first_token"] // self.block_size])

    def oldest_when_preempted(self) -> list[str]:
        """Return the request that came first of those in the step, the victim included, for each preemption."""
        order = {event["id"]: index for index, event in enumerate(self.requests)}
        oldest = []
        for step in self.steps:
            victims = [each["id"] for each in step["preempted"]]
            present = {item["id"] for item in step["sequences"]} | set(step["skipped"]) | set(victims)
            for victim in victims:
                oldest.append(min(present, key=order.__getitem__))
                present.discard(victim)
        return oldest
