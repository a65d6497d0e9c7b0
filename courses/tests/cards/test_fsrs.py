"""FSRS-6: stability, difficulty and interval are py-fsrs's, review by review."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_course.cards.fsrs import Memory, interval, recall, review

VECTORS = json.loads(Path(__file__).with_name("fsrs_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("history", VECTORS)
def test_reviews_give_what_py_fsrs_gives(history: list[dict[str, float]]) -> None:
    memory = None
    for step in history:
        memory = review(memory, int(step["grade"]), int(step["days"]))
        assert memory.stability == pytest.approx(step["stability"], abs=1e-8)
        assert memory.difficulty == pytest.approx(step["difficulty"], abs=1e-8)
        assert interval(memory) == step["interval"]


def test_recall_is_nine_tenths_after_the_stability() -> None:
    assert recall(Memory(stability=7.0, difficulty=5.0), 7) == pytest.approx(0.9)
    assert recall(Memory(stability=7.0, difficulty=5.0), 0) == 1.0
