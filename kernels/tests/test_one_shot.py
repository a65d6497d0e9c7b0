"""The protocol of the one-shot collectives, played by ranks whose steps a random scheduler interleaves.

A rank's call is what `cuda/one_shot.cu` does: write to the others, empty the buffer of the call before, then wait for
each of the others. Writes arrive late and in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from llm_kernels import one_shot

EMPTY = None
CALLS = 12


class Broken(Exception):
    """A rank read something other than what the other had sent in this call, or nothing arrived."""


class World:
    """Ranks with `turns` buffers each, and writes that are on their way."""

    def __init__(self, ranks: int, turns: int) -> None:
        self.ranks, self.turns = ranks, turns
        self.buffers = [[[EMPTY] * ranks for _ in range(turns)] for _ in range(ranks)]
        self.on_their_way: list[tuple[int, int, int, tuple[int, int]]] = []

    def run(self, rank: int) -> Iterator[None]:
        """Make the calls of a rank; it stops wherever another rank can come in between."""
        others = [other for other in range(self.ranks) if other != rank]
        for call in range(CALLS):
            turn = call % self.turns
            for other in others:
                self.on_their_way.append((other, turn, rank, (rank, call)))
                yield
            for other in others:
                self.buffers[rank][(turn - 1) % self.turns][other] = EMPTY
                yield
            for other in others:
                while (found := self.buffers[rank][turn][other]) is EMPTY:
                    yield
                if found != (other, call):
                    raise Broken(f"rank {rank}, call {call}: {found}")

    def deliver(self, number: int) -> None:
        target, turn, source, value = self.on_their_way.pop(number)
        self.buffers[target][turn][source] = value


def play(ranks: int, turns: int, seed: int) -> None:
    dice, world = random.Random(seed), World(ranks, turns)
    running = dict(enumerate(world.run(rank) for rank in range(ranks)))
    speed = [dice.uniform(0.1, 1.0) for _ in range(ranks)]
    for _ in range(1000 * CALLS * ranks):
        if not running:
            return
        if world.on_their_way and dice.random() < 0.5:
            world.deliver(dice.randrange(len(world.on_their_way)))
        rank = dice.choices(list(running), [speed[rank] for rank in running])[0]
        if next(running[rank], "over") == "over":
            del running[rank]
    raise Broken("the ranks are stuck")


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_three_buffers_are_enough(ranks: int) -> None:
    for seed in range(100):
        play(ranks, one_shot.TURNS, seed)


def test_two_buffers_are_not() -> None:
    broken = 0
    for seed in range(100):
        try:
            play(2, 2, seed)
        except Broken:
            broken += 1
    assert broken > 0


def test_it_is_for_gpus() -> None:
    cpu = torch.device("cpu")
    assert one_shot.why_not([cpu, cpu], cpu) == "they need GPUs"


def test_other_gpus_take_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels are built for Hopper alone: on an A100 they must not be chosen."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert one_shot.why_not(devices, devices[0]) == "they are built for compute capability 9.0"
