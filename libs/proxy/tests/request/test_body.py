from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.request.body import can_ask_for_usage, for_engine, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text() | st.sampled_from(["priority", "stream_options"]), VALUES, max_size=5)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError, match="not valid JSON") as caught:
        parse(raw)
    assert caught.value.kind is ErrorKind.INVALID_REQUEST


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null", b'"text"'])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ApiError, match="must be a JSON object"):
        parse(raw)


def test_without_priority_the_bytes_go_through_untouched() -> None:
    raw = b' {"prompt" : "x",  "n": 1.50}\n'
    assert for_engine(raw, parse(raw), None) is raw


@settings(deadline=None)
@given(BODIES, st.none() | st.integers(-5, 5), st.sampled_from([None, 2]))
def test_only_the_priority_changes(body: dict[str, Any], priority: int | None, indent: int | None) -> None:
    raw = json.dumps(body, indent=indent).encode()
    expected = {name: value for name, value in body.items() if name != "priority"}
    if priority is not None:
        expected["priority"] = priority
    assert json.loads(for_engine(raw, parse(raw), priority)) == expected


@settings(deadline=None)
@given(BODIES, st.sampled_from([None, {}, {"include_usage": False}, {"x": 1}]), st.booleans(), st.none() | st.just(3))
def test_usage_is_asked_for_without_another_change(
    body: dict[str, Any], options: dict[str, Any] | None, absent: bool, priority: int | None
) -> None:
    body = {**body, "stream": True, "stream_options": options}
    if absent:
        del body["stream_options"]
    raw = json.dumps(body).encode()
    assert can_ask_for_usage(parse(raw))
    expected = {name: value for name, value in body.items() if name != "priority"}
    expected |= {} if priority is None else {"priority": priority}
    expected["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    assert json.loads(for_engine(raw, parse(raw), priority, ask_usage=True)) == expected
    assert json.loads(for_engine(None, parse(raw), priority, ask_usage=True)) == expected


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"stream": False}, {"stream": "true"}, {"stream": 1}, {"stream": None, "stream_options": {}}),
        *({"stream": True, "stream_options": one} for one in ({"include_usage": True}, [], "x", 1, False)),
        {"stream": True, "stream_options": {"include_usage": "maybe"}},
        {"stream": True, "stream_options": {"continuous_usage_stats": True}},
    ],
)
def test_usage_is_not_asked_for(body: dict[str, Any]) -> None:
    assert not can_ask_for_usage(body)


@pytest.mark.parametrize("priority", [None, 2])
@pytest.mark.parametrize("ask_usage", [False, True])
@pytest.mark.parametrize(
    "number", ["9007199254740993", "123456789012345678901234567890", "-0.0", "1E400", "0.10000000000000000001", "1e-7"]
)
def test_numbers_keep_every_digit_when_a_field_beside_them_changes(
    number: str, ask_usage: bool, priority: int | None
) -> None:
    raw = f'{{"priority": 1, "stream": true, "seed": {number}, "nested": [{number}]}}'.encode()
    body = {"priority": 1, "stream": True, "seed": 0, "nested": [0]}
    sent = for_engine(raw, body, priority, ask_usage=ask_usage).decode()
    assert f'"seed": {number}' in sent
    assert f'"nested": [{number}]' in sent
