"""Sequences that the same KV memory holds at once: contiguous reservations beside blocks. Arithmetic, no model.

    python services/engine/benchmarks/kv_memory.py

nano-vllm's 256 requests arrive together at 8,192 blocks of 16 tokens, as in `gpu_batching.py`. Each step gives every
running sequence one token. Three ways to place a sequence:

    longest     2,048 contiguous tokens, prompt and answer at their longest
    exact       as many contiguous tokens as it will have in the end, which no server knows; first fit
    paged       a block when it needs one; the last arrival gives its blocks back when none is left

A step costs the same however much it computes: this is about memory, and `gpu_batching.py` about time. Counted while
requests wait, so that the end of the load flatters no way: sequences that run, and what the slots hold.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.gpu.gpu_throughput import LONGEST, REQUESTS, workload
from benchmarks.measure import environment, rounded, save

BLOCKS, BLOCK_SIZE = 8192, 16
SLOTS = BLOCKS * BLOCK_SIZE
MAX_MODEL_LEN = 2 * LONGEST


@dataclass(eq=False)
class Request:
    prompt: int
    answer: int
    tokens: int = field(init=False)
    """Prompt, and the answer so far; a preempted sequence keeps them and computes them again."""
    first: int = 0
    """Where its contiguous room begins."""

    def __post_init__(self) -> None:
        self.tokens = self.prompt

    @property
    def final(self) -> int:
        return self.prompt + self.answer


class Memory(Protocol):
    def admit(self, request: Request) -> bool:
        """Take room for the tokens so far; False if there is none."""

    def grow(self, request: Request) -> bool:
        """Make room for one more token; False if there is none."""

    def release(self, request: Request) -> None: ...

    @property
    def taken(self) -> int:
        """Slots that no other sequence can have."""


@dataclass
class Contiguous:
    """First fit among the gaps between reservations."""

    knows_the_future: bool
    running: list[Request] = field(default_factory=list)
    """In the order of their places."""

    def room(self, request: Request) -> int:
        return request.final if self.knows_the_future else MAX_MODEL_LEN

    def admit(self, request: Request) -> bool:
        at = 0
        for index, other in enumerate([*self.running, None]):
            gap = (SLOTS if other is None else other.first) - at
            if gap >= self.room(request):
                request.first = at
                self.running.insert(index, request)
                return True
            at = 0 if other is None else other.first + self.room(other)
        return False

    def grow(self, request: Request) -> bool:
        return request.tokens < self.room(request)

    def release(self, request: Request) -> None:
        self.running.remove(request)

    @property
    def taken(self) -> int:
        return sum(self.room(request) for request in self.running)


@dataclass
class Paged:
    owned: dict[Request, int] = field(default_factory=dict)
    """Blocks of each sequence."""

    def admit(self, request: Request) -> bool:
        needed = -(-(request.tokens + 1) // BLOCK_SIZE)
        if needed > BLOCKS - sum(self.owned.values()):
            return False
        self.owned[request] = needed
        return True

    def grow(self, request: Request) -> bool:
        if request.tokens < self.owned[request] * BLOCK_SIZE:
            return True
        if sum(self.owned.values()) == BLOCKS:
            return False
        self.owned[request] += 1
        return True

    def release(self, request: Request) -> None:
        del self.owned[request]

    @property
    def taken(self) -> int:
        return sum(self.owned.values()) * BLOCK_SIZE


def run(memory: Memory, requests: list[Request]) -> dict[str, Any]:
    """Serve all requests and return what was counted while some of them waited."""
    waiting, running = deque(requests), list[Request]()
    steps = preemptions = 0
    sequences, tokens, taken, to_come = [], [], [], []
    while waiting or running:
        while waiting and memory.admit(waiting[0]):
            running.append(waiting.popleft())
        for request in tuple(running):
            while request in running and not memory.grow(request):
                last = running.pop()
                memory.release(last)
                waiting.appendleft(last)
                preemptions += 1
            if request in running:
                request.tokens += 1
        steps += 1
        if waiting:
            sequences.append(len(running))
            tokens.append(sum(request.tokens for request in running))
            to_come.append(sum(request.final - request.tokens for request in running))
            taken.append(memory.taken)
        for request in [each for each in running if each.tokens == each.final]:
            running.remove(request)
            memory.release(request)
    counted = len(sequences) * SLOTS
    held, reserved = sum(tokens) / counted, sum(to_come) / counted
    return {
        "sequences": rounded(sum(sequences) / len(sequences)),
        "most_sequences": max(sequences),
        "steps": steps,
        "preemptions": preemptions,
        "holds_tokens": rounded(held),
        "taken": rounded(sum(taken) / counted),
        "free": rounded(1 - sum(taken) / counted),
    } | _waste(memory, held, reserved, sum(taken) / counted)


def _waste(memory: Memory, held: float, reserved: float, taken: float) -> dict[str, float]:
    """Split what is taken and holds no token: slots for tokens that will come, and slots that stay empty."""
    if isinstance(memory, Paged):
        return {"reserved": 0.0, "internal": rounded(taken - held)}
    return {"reserved": rounded(reserved), "internal": rounded(round(taken - held - reserved, 6))}


def main() -> int:
    setting = environment()
    pairs = [(len(prompt), params.max_tokens or 0) for prompt, params in workload(REQUESTS, 10_000)]
    sizes = {"requests": REQUESTS, "blocks": BLOCKS, "block_size": BLOCK_SIZE, "max_model_len": MAX_MODEL_LEN}
    lengths = {"mean_tokens": rounded(sum(map(sum, pairs)) / len(pairs)), "longest_request": max(map(sum, pairs))}
    ways: dict[str, Memory] = {
        "longest": Contiguous(knows_the_future=False),
        "exact": Contiguous(knows_the_future=True),
        "paged": Paged(),
    }
    found = {name: run(memory, [Request(*pair) for pair in pairs]) for name, memory in ways.items()}
    save("kv_memory", {**setting, **sizes, **lengths, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
