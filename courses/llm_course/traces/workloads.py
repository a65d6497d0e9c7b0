"""The requests of the recordings, the same each time: generators of seed and size, by the names in recordings.yaml."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IMPORTS = '''import os
import sys
from pathlib import Path


def read_lines(path):
    """Return the lines of a file, without their ends."""
    with open(path, encoding='utf-8') as file:
        return [line.rstrip('\\n') for line in file]


'''
STACK = '''class Stack:
    """A last-in, first-out collection."""

    def __init__(self):
        self._items = []

    def push(self, item):
        self._items.append(item)

    def pop(self):
        return self._items.pop()

'''
TAILS = ("def main():", "def count_words(text):", "def parse(line):", "    def __len__(self):", "    def peek(self):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that is sent before the step of that number."""

    id: str
    prompt: str
    max_tokens: int
    step: int = 0
    priority: int = 0


def shared_prefixes(
    *, requests: int, seed: int, gap: float = 3.0, lengths: tuple[int, ...] = (12, 24, 48)
) -> list[Arrival]:
    """Two of three requests begin with one of two long prefixes, and end differently."""
    rng = random.Random(seed)
    found, due = [], 0.0
    for index in range(requests):
        if index % 3 == 2:
            prompt = f"def f{index}(a, b):\n    return " + "a + b * " * rng.randint(1, 14)
        else:
            prompt = (IMPORTS, STACK)[index % 3] + rng.choice(TAILS)
        found.append(Arrival(id=f"r{index:02d}", prompt=prompt, max_tokens=rng.choice(lengths), step=int(due)))
        due += rng.expovariate(1 / gap)
    return found


def mixed_lengths(*, requests: int, seed: int, shortest: int = 4, longest: int = 40) -> list[Arrival]:
    """All there at once, with answers of very different length."""
    rng = random.Random(seed)
    lengths = [rng.randint(shortest, longest) for _ in range(requests)]
    return [
        Arrival(id=f"r{index:02d}", prompt=f"def f{index}(x):\n    return x + ", max_tokens=length)
        for index, length in enumerate(lengths)
    ]


def long_prompts(*, decodes: int, prompts: int, words: int, gap: int = 8, tokens: int = 40) -> list[Arrival]:
    """A few answers are under way when long prompts come."""
    short = [Arrival(id=f"chat{index}", prompt=f"def chat{index}(", max_tokens=tokens) for index in range(decodes)]
    text = "\n".join(f"value_{index} = table[{index}] + offset" for index in range(words))
    return short + [
        Arrival(id=f"long{index}", prompt=f"# file {index}\n{text}", max_tokens=8, step=5 + gap * index)
        for index in range(prompts)
    ]


def growing(*, requests: int, tokens: int) -> list[Arrival]:
    """All there at once, and each outgrows its share of the memory."""
    return [
        Arrival(id=name, prompt=f"# {name * 9}\ndef {name}(items):\n    total = ", max_tokens=tokens)
        for name in "abcdefghijkl"[:requests]
    ]


def priorities(*, requests: int, seed: int, gap: float, tokens: tuple[int, int] = (8, 24)) -> list[Arrival]:
    """Three classes in a mix; every third request is urgent (0), the others can wait (1 and 2)."""
    rng = random.Random(seed)
    found, due = [], 0.0
    for index in range(requests):
        priority = (2, 1, 0)[index % 3]
        prompt = f"def f{index}(a):\n    return a * "
        tokens_here = rng.randint(*tokens)
        found.append(
            Arrival(id=f"r{index:02d}", prompt=prompt, max_tokens=tokens_here, step=int(due), priority=priority)
        )
        due += rng.expovariate(1 / gap)
    return found


KINDS: dict[str, Callable[..., list[Arrival]]] = {
    kind.__name__: kind for kind in (shared_prefixes, mixed_lengths, long_prompts, growing, priorities)
}


def make(kind: str, settings: dict[str, Any]) -> list[Arrival]:
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    return KINDS[kind](**lists)
