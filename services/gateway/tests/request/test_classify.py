from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llm_contract import headers as names
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import DEFAULT_CLASSES, ClassTable
from llm_gateway.request.classify import Targets, classify, targets

TABLE = ClassTable(DEFAULT_CLASSES, "standard")


@pytest.mark.parametrize(
    ("headers", "body", "name"),
    [
        ({}, {}, "standard"),
        ({}, {"priority": None}, "standard"),
        ({}, {"priority": 0}, "interactive"),
        ({}, {"priority": -7}, "interactive"),
        ({}, {"priority": 2}, "batch"),
        ({"X-Priority": "batch"}, {}, "batch"),
        ({"x-priority": " Interactive "}, {}, "interactive"),
        ({"x-priority": "batch"}, {"priority": 0}, "batch"),
    ],
)
def test_header_then_body_then_default(headers: dict[str, str], body: dict[str, Any], name: str) -> None:
    assert classify(TABLE, CIMultiDict(headers), body).name == name


@pytest.mark.parametrize("priority", ["high", 1.5, True, [1], {}])
def test_a_priority_that_is_no_integer_is_refused(priority: object) -> None:
    with pytest.raises(ApiError, match="priority must be an integer") as caught:
        classify(TABLE, CIMultiDict(), {"priority": priority})
    assert caught.value.kind is ErrorKind.INVALID_REQUEST
    assert caught.value.param == "priority"


@pytest.mark.parametrize("name", ["", "vip", "interactive,batch", "x" * 10_000])
def test_an_unknown_class_is_refused(name: str) -> None:
    with pytest.raises(ApiError, match="the classes are interactive, standard, batch") as caught:
        classify(TABLE, CIMultiDict({"x-priority": name}), {})
    assert len(caught.value.message) < 200


TARGET_HEADERS = (names.SLO_TTFT_MS, names.SLO_TPOT_MS, names.DEADLINE_MS)


def test_without_headers_the_targets_are_the_classs() -> None:
    assert targets(DEFAULT_CLASSES[0], CIMultiDict()) == Targets(0.5, 0.1, None)
    cls = DEFAULT_CLASSES[0].model_copy(update={"deadline": 7.0})
    assert targets(cls, CIMultiDict()).deadline == 7


def test_a_request_states_its_own_in_milliseconds() -> None:
    given = {"X-SLO-TTFT-MS": "250", "x-slo-tpot-ms": " 12.5 ", "x-deadline-ms": "1e4"}
    assert targets(DEFAULT_CLASSES[0], CIMultiDict(given)) == Targets(0.25, 0.0125, 10)


@pytest.mark.parametrize("name", TARGET_HEADERS)
@pytest.mark.parametrize(
    "text", ["", "0", "-1", "-0.0", "nan", "inf", "1e999", "5e-324", "abc", "1_000", "1,5", "0x10", "٣", "1" * 33]
)
def test_a_target_that_is_no_positive_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(ApiError, match=f"{name} must be a positive number of milliseconds") as caught:
        targets(DEFAULT_CLASSES[0], CIMultiDict({name: text}))
    assert (caught.value.kind, caught.value.param) == (ErrorKind.INVALID_REQUEST, name)
    assert len(caught.value.message) < 150


@given(st.one_of(st.text(max_size=40), st.floats().map(str), st.integers().map(str)))
def test_any_header_is_seconds_above_zero_or_refused(text: str) -> None:
    try:
        found = targets(DEFAULT_CLASSES[0], {names.DEADLINE_MS: text}).deadline
    except ApiError:
        return
    assert found is not None
    assert found == float(text) / 1000 > 0
