from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_contract.errors import ErrorKind
from llm_gateway.sla.record import EXCLUDED_OUTCOMES, REJECTED_OUTCOMES, VIOLATIONS, Verdict
from llm_gateway.sla.testing import record

WHOLE: dict[str, Any] = {"streamed": False, "ttft": None, "tpot": None}


@pytest.mark.parametrize(
    ("changes", "violations", "verdict"),
    [
        ({}, (), Verdict.MET),
        ({"ttft": 0.5, "tpot": 0.1, "e2e": 5.0}, (), Verdict.MET),
        ({"ttft": 0.51}, ("ttft",), Verdict.LATE),
        ({"tpot": 0.11}, ("tpot",), Verdict.LATE),
        ({"ttft": 9.0, "tpot": 9.0, "e2e": 9.0}, ("ttft", "tpot", "deadline"), Verdict.LATE),
        ({"e2e": 5.1}, ("deadline",), Verdict.LATE),
        ({"ttft": 9.0, "tpot": 9.0, "ttft_target": None, "tpot_target": None}, (), Verdict.MET),
        ({"ttft": None, "tpot": None, "output_tokens": 0}, (), Verdict.MET),
        # In one piece: 11 tokens have 0.5 + 10 * 0.1 s.
        ({**WHOLE, "e2e": 1.5}, (), Verdict.MET),
        ({**WHOLE, "e2e": 1.51}, ("ttft",), Verdict.LATE),
        ({**WHOLE, "e2e": 0.51, "output_tokens": 0}, ("ttft",), Verdict.LATE),
        ({**WHOLE, "e2e": 4.0, "tpot_target": None}, (), Verdict.MET),
        ({**WHOLE, "e2e": 6.0, "tpot_target": None}, ("deadline",), Verdict.LATE),
        ({"outcome": "queue_full"}, ("rejected",), Verdict.REJECTED),
        ({"outcome": "queue_timeout"}, ("rejected",), Verdict.REJECTED),
        ({"outcome": "draining"}, ("rejected",), Verdict.REJECTED),
        ({"outcome": "engine_failed", "ttft": 9.0}, ("failed",), Verdict.FAILED),
        ({"outcome": "engine_unavailable"}, ("failed",), Verdict.FAILED),
        ({"outcome": "internal"}, ("failed",), Verdict.FAILED),
        ({"outcome": "client_closed", "ttft": 9.0}, (), Verdict.EXCLUDED),
        ({"outcome": "engine_rejected"}, (), Verdict.EXCLUDED),
        ({"outcome": "invalid_request"}, (), Verdict.EXCLUDED),
        ({"outcome": "rate_limited"}, (), Verdict.EXCLUDED),
    ],
)
def test_what_a_request_makes_of_its_promise(
    changes: dict[str, Any], violations: tuple[str, ...], verdict: Verdict
) -> None:
    one = record(**changes)
    assert one.violations() == violations
    assert one.verdict() is verdict
    assert one.met is {Verdict.MET: True, Verdict.EXCLUDED: None}.get(verdict, False)


def test_no_error_kind_is_both_rejected_and_excluded() -> None:
    assert not REJECTED_OUTCOMES & EXCLUDED_OUTCOMES


maybe_seconds = st.none() | st.floats(0, 100)


@given(
    outcome=st.sampled_from(["ok", "engine_rejected", *(kind.label for kind in ErrorKind)]),
    streamed=st.booleans(),
    output_tokens=st.integers(0, 1000),
    ttft=maybe_seconds,
    tpot=maybe_seconds,
    e2e=maybe_seconds,
    ttft_target=maybe_seconds,
    tpot_target=maybe_seconds,
    deadline=maybe_seconds,
)
def test_violations_verdict_and_met_agree(**changes: Any) -> None:
    one = record(**changes)
    assert set(one.violations()) <= set(VIOLATIONS)
    assert len(set(one.violations())) == len(one.violations())
    assert (one.verdict() in (Verdict.MET, Verdict.EXCLUDED)) == (not one.violations())
    assert (one.met is None) == (one.verdict() is Verdict.EXCLUDED)
