"""`llm-bench capacity`: the rate of a target that it keeps busy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_contract.testing import Script, ScriptedEngine


async def test_capacity_finds_the_rate_of_a_target_with_eight_slots(
    scenario: Callable[..., Path], corpus: Path, bench: Any
) -> None:
    """An answer takes 20 ms + 8 x 20 ms = 180 ms: eight slots do 44 requests/s."""
    async with ScriptedEngine(Script(ttft=0.02, gaps=(0.02,), max_running=8)) as engine:
        path = scenario(rate=1, duration=1)
        status, out, errors = await bench(
            "capacity", path, "--target", engine.url, "--corpus", corpus, "--users", "12", "--duration", "3"
        )

    assert status == 0, errors
    capacity = orjson.loads(out)
    assert capacity["requests_per_second"] == pytest.approx(8 / 0.18, rel=0.12)
    assert capacity["output_tokens_per_second"] == pytest.approx(9 * capacity["requests_per_second"])
    assert capacity["failed"] == 0


async def test_capacity_says_so_if_the_target_is_faster_than_it_can_measure(
    scenario: Callable[..., Path], corpus: Path, bench: Any
) -> None:
    """It answers at once: 40 users are through with what was prepared long before two seconds are over."""
    async with ScriptedEngine() as engine:
        path = scenario(rate=1, duration=1, output={"kind": "fixed", "tokens": 1})
        status, _, errors = await bench(
            "capacity", path, "--target", engine.url, "--corpus", corpus, "--users", "40", "--duration", "2"
        )

    assert status == 1
    assert "was through with all 440 requests early: it does more than 200 a second" in errors
