"""Rebuild the memory of a running engine from its trace: which block is owned, cached or free after each step.

A trace says what changed, not what is. `services/engine/llm_engine/observers/trace.schema.json` describes its fields;
the ones needed here:

    step     preempted[].id                       these sequences gave their blocks back
             evicted, lost                        the prefix cache forgot these blocks
             sequences[].id, block_table          what each sequence that computes something in this step owns now
             sequences[].first_token, num_tokens  positions of the tokens that it computes
             inserted[]                           the prefix cache knows these from now on; the block's id comes first
    result   index                                the step whose tokens are known now
             sampled[].id, rejected_drafts        how many tokens at the end of what was computed do not count
             inserted[]                           as above
    finish   id                                   this sequence gave its blocks back

Run it on a trace of your own: python replay.py trace.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Blocks:
    """How many blocks are in each state, and how many evictions there were since the start."""

    owned: int
    cached: int
    free: int
    evictions: int


@dataclass(frozen=True)
class Frame:
    """The memory after one step was scheduled."""

    blocks: Blocks
    picture: str
    """One character a block."""
    unshared: int
    """Blocks that the same tables would need if each had its blocks to itself."""


class Replay:
    """The block tables of all sequences, and the blocks that the prefix cache knows, after the events taken so far."""

    def __init__(self, start: Event) -> None:
        self.num_blocks: int = start["num_blocks"]
        self.block_size: int = start["block_size"]
        self.tables: dict[str, list[int]] = {}
        """Sequence -> its blocks, in order. A sequence that owns nothing need not be here."""
        self.ends: dict[str, int] = {}
        """Sequence -> the number of its tokens that are computed once its last step is done."""
        self.known: set[int] = set()
        self.num_evictions = 0

    def take(self, event: Event) -> None:
        if event["event"] == "step":
            self.step(event)
        elif event["event"] == "result":
            self.result(event)
        elif event["event"] == "finish":
            self.finish(event)

    def step(self, event: Event) -> None:
        """Take what happened while the step was scheduled, in this order: preempted, forgotten, computed, inserted."""
        # region exercise: four loops, one for each list of the event
        for item in event["preempted"]:
            self.tables.pop(item["id"])
        self.known -= {*event["evicted"], *event["lost"]}
        self.num_evictions += len(event["evicted"])
        for item in event["sequences"]:
            self.tables[item["id"]] = item["block_table"]
            self.ends[item["id"]] = item["first_token"] + item["num_tokens"]
        self._insert(event)
        # endregion

    def result(self, event: Event) -> None:
        """Take what the step computed. The room of rejected drafts is given back, in whole blocks."""
        # region exercise: shorten a table to the blocks that the remaining tokens fill; then insert
        for item in event["sampled"]:
            if item["rejected_drafts"] and item["id"] in self.tables:
                end = self.ends[item["id"]] - item["rejected_drafts"]
                self.tables[item["id"]] = self.tables[item["id"]][: -(-end // self.block_size)]
        self._insert(event)
        # endregion

    def finish(self, event: Event) -> None:
        """Take a sequence's blocks from it. It can end while it waits, and owns nothing then."""
        # region exercise: one table less; the prefix cache keeps what it knows
        self.tables.pop(event["id"], None)
        # endregion

    def _insert(self, event: Event) -> None:
        self.known |= {block for block, *_ in event["inserted"]}

    def owners(self) -> Counter[int]:
        """Return for each owned block how many tables name it."""
        # region exercise: count over all tables
        return Counter(block for table in self.tables.values() for block in table)
        # endregion

    def blocks(self) -> Blocks:
        # region exercise: a block is owned, else cached if it is known, else free
        owned = len(self.owners())
        cached = len(self.known - self.owners().keys())
        return Blocks(owned, cached, self.num_blocks - owned - cached, self.num_evictions)
        # endregion

    def picture(self) -> str:
        """Return one character for each block: `.` free, `c` cached, `1` to `9` the number of owners, `+` more."""
        # region exercise: look at the owners first
        owners = self.owners()

        def character(block: int) -> str:
            if count := owners[block]:
                return str(count) if count < 10 else "+"
            return "c" if block in self.known else "."

        return "".join(character(block) for block in range(self.num_blocks))
        # endregion


def film(events: Iterable[Event]) -> list[Frame]:
    """Return a frame for each step, as it is right after the step was scheduled. The first event is `start`."""
    # region exercise: take the events in turn, and look after each step
    frames: list[Frame] = []
    start, *others = events
    replay = Replay(start)
    for event in others:
        replay.take(event)
        if event["event"] == "step":
            unshared = sum(len(table) for table in replay.tables.values())
            frames.append(Frame(replay.blocks(), replay.picture(), unshared))
    return frames
    # endregion


def life(frames: list[Frame], block: int) -> list[tuple[int, str]]:
    """Return the story of one block: its character at the start, and each change with the step that brought it."""
    # region exercise: compare each picture's character with the one before
    story: list[tuple[int, str]] = []
    for step, frame in enumerate(frames):
        if not story or frame.picture[block] != story[-1][1]:
            story.append((step, frame.picture[block]))
    return story
    # endregion


def read(path: Path) -> list[Event]:
    """Return the events of a trace. ValueError if the file has another schema."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not events or events[0].get("schema_version") != 2:
        raise ValueError(f"{path} is no trace of schema 2; the engine's --trace writes one")
    return events


def main() -> None:
    for step, frame in enumerate(film(read(Path(sys.argv[1])))):
        print(f"{step:4} {frame.picture}  owned {frame.blocks.owned}, cached {frame.blocks.cached}")


if __name__ == "__main__":
    main()
