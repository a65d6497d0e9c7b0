from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_contract.errors import ErrorKind
from llm_gateway.sla.record import EXCLUDED_OUTCOMES, REJECTED_OUTCOMES, VIOLATIONS, SlaVerdict
from llm_gateway.sla.testing import record

WHOLE: dict[str, Any] = {"streamed": False, "ttft": None, "tpot": None}


@pytest.mark.parametrize(
    ("changes", "violations", "verdict"),
    [
        ({}, (), SlaVerdict.MET),
        ({"ttft": 0.5, "tpot": 0.1, "e2e": 5.0}, (), SlaVerdict.MET),
        ({"ttft": 0.51}, ("ttft",), SlaVerdict.LATE),
        ({"tpot": 0.11}, ("tpot",), SlaVerdict.LATE),
        ({"ttft": 9.0, "tpot": 9.0, "e2e": 9.0}, ("ttft", "tpot", "deadline"), SlaVerdict.LATE),
        ({"e2e": 5.1}, ("deadline",), SlaVerdict.LATE),
        ({"ttft": 9.0, "tpot": 9.0, "ttft_target": None, "tpot_target": None}, (), SlaVerdict.MET),
        ({"ttft": None, "tpot": None, "output_tokens": 0}, (), SlaVerdict.MET),
        # In one piece: 11 tokens have 0.5 + 10 * 0.1 s.
        ({**WHOLE, "e2e": 1.5}, (), SlaVerdict.MET),
        ({**WHOLE, "e2e": 1.51}, ("ttft",), SlaVerdict.LATE),
        ({**WHOLE, "e2e": 0.51, "output_tokens": 0}, ("ttft",), SlaVerdict.LATE),
        ({**WHOLE, "e2e": 4.0, "tpot_target": None}, (), SlaVerdict.MET),
        ({**WHOLE, "e2e": 6.0, "tpot_target": None}, ("deadline",), SlaVerdict.LATE),
        ({"outcome": "queue_full"}, ("rejected",), SlaVerdict.REJECTED),
        ({"outcome": "queue_timeout"}, ("rejected",), SlaVerdict.REJECTED),
        ({"outcome": "draining"}, ("rejected",), SlaVerdict.REJECTED),
        ({"outcome": "engine_failed", "ttft": 9.0}, ("failed",), SlaVerdict.FAILED),
        ({"outcome": "engine_unavailable"}, ("failed",), SlaVerdict.FAILED),
        ({"outcome": "internal"}, ("failed",), SlaVerdict.FAILED),
        ({"outcome": "client_closed", "ttft": 9.0}, (), SlaVerdict.EXCLUDED),
        ({"outcome": "engine_rejected"}, (), SlaVerdict.EXCLUDED),
        ({"outcome": "invalid_request"}, (), SlaVerdict.EXCLUDED),
        ({"outcome": "rate_limited"}, (), SlaVerdict.EXCLUDED),
    ],
)
def test_what_a_request_makes_of_its_promise(
    changes: dict[str, Any], violations: tuple[str, ...], verdict: SlaVerdict
) -> None:
    one = record(**changes)
    assert one.violations() == violations
    assert one.verdict() is verdict
    assert one.met is {SlaVerdict.MET: True, SlaVerdict.EXCLUDED: None}.get(verdict, False)


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
    assert (one.verdict() in (SlaVerdict.MET, SlaVerdict.EXCLUDED)) == (not one.violations())
    assert (one.met is None) == (one.verdict() is SlaVerdict.EXCLUDED)
