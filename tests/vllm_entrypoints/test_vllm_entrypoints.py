"""vLLM's own tests of its OpenAI entrypoints pass against our engine, where they apply."""

from __future__ import annotations

import re

import pytest

from vllm_entrypoints import run
from vllm_entrypoints.applicability import REASONS, Applicability, verdict

FEWEST_PASSED = 75
"""Far fewer mean that the harness did not run what it should."""


@pytest.fixture(scope="module")
def outcomes() -> run.Outcomes:
    return run.run()


def test_those_that_apply_pass(outcomes: run.Outcomes) -> None:
    failed = {
        test: reason for test, (outcome, reason) in outcomes.items() if verdict(test, outcome) is Applicability.FAILED
    }
    assert failed == {}
    assert sum(outcome == "passed" for outcome, _ in outcomes.values()) >= FEWEST_PASSED


@pytest.mark.parametrize("pattern", REASONS)
def test_each_reason_is_still_needed(outcomes: run.Outcomes, pattern: str) -> None:
    matching = [outcome for test, (outcome, _) in outcomes.items() if re.search(pattern, test)]
    assert matching
    assert set(matching) != {"passed"}
