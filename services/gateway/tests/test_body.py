from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.body import for_engine, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text() | st.just("priority"), VALUES, max_size=5)


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
