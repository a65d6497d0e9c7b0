"""Prompts and runs for the hidden tests of faults. A test imports the engine that is under test; this module none."""

from __future__ import annotations

from random import Random
from typing import Any


def drawn_prompt(length: int, seed: int) -> list[int]:
    """Return ordinary token ids, the same for the same seed."""
    random = Random(seed)
    return [random.randrange(5, 900) for _ in range(length)]


def run(engine: Any) -> dict[str, list[int]]:
    """Step until the engine is idle; return the tokens of each request."""
    tokens: dict[str, list[int]] = {}
    while engine.has_work:
        for output in engine.step():
            tokens.setdefault(output.request_id, []).extend(output.token_ids)
    return tokens
