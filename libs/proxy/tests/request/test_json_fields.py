from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.request.json_fields import MAX_MARKS, edit


@pytest.mark.parametrize(
    ("raw", "fields", "edited"),
    [
        (b"{}", {"priority": None}, b"{}"),
        (b" { } ", {"priority": b"1"}, b'{"priority":1}'),
        (b'{"a": 1, "priority": 2}', {"priority": None}, b'{"a": 1}'),
        (b'{"priority":2,"a":1}', {"priority": b"7"}, b'{"priority":7,"a":1}'),
        (b'{"a":1}', {"priority": b"7"}, b'{"priority":7,"a":1}'),
        (b'{"model":"a","model":"b"}', {"model": b'"c"'}, b'{"model":"c","model":"c"}'),
        (b'{"mod\\u0065l":"a"}', {"model": b'"c"'}, b'{"model":"c"}'),
        (b'{"x":{"priority":1},"priority":1}', {"priority": None}, b'{"x":{"priority":1}}'),
        (b'{"x":"\\"priority\\":1,","priority":1}', {"priority": None}, b'{"x":"\\"priority\\":1,"}'),
        (b'{"x":"\\\\","priority":1}', {"priority": None}, b'{"x":"\\\\"}'),
        (b'{"x":["}",{"y":"]"}],"priority":1}', {"priority": None}, b'{"x":["}",{"y":"]"}]}'),
        (b'{"seed":123456789012345678901234567890,"priority":1}', {"priority": None}, None),
        (b'{"seed":9007199254740993,"priority":1}', {"priority": None}, b'{"seed":9007199254740993}'),
        (b'{"t":0.10000000000000000000001,"priority":1}', {"priority": None}, b'{"t":0.10000000000000000000001}'),
        (b'{"t":1e-400,"u":1E2,"priority":1}', {"priority": None}, b'{"t":1e-400,"u":1E2}'),
    ],
)
def test_one_field_changes_and_the_others_are_as_they_came(
    raw: bytes, fields: dict[str, bytes | None], edited: bytes | None
) -> None:
    assert edit(raw, fields) == (edited or raw.replace(b',"priority":1', b""))


texts = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "{", "]", ",", ":", "model", "priority", "\u2028"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(texts | st.sampled_from(["model", "priority"]), values, max_size=6),
    st.dictionaries(st.sampled_from(["model", "priority", "stream"]), st.none() | values, max_size=3),
    st.sampled_from([(",", ":"), (" ,\n ", "\t: ")]),
    st.booleans(),
)
def test_it_reads_as_the_object_with_the_fields_replaced(
    body: dict[str, Any], fields: dict[str, Any], separators: tuple[str, str], ascii_only: bool
) -> None:
    """None removes a field; null is written as the text `null`."""
    raw = json.dumps(body, separators=separators, ensure_ascii=ascii_only).encode()
    texts = {name: None if value is None else json.dumps(value).encode() for name, value in fields.items()}
    expected = {name: value for name, value in body.items() if name not in fields}
    expected |= {name: value for name, value in fields.items() if value is not None}
    assert json.loads(edit(raw, texts)) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": '\\"\n' * 300_000},
        {"prompt": list(range(300_000))},
        {"prompt": [""] * 300_000},
        {"prompt": [[]] * 300_000},
        {str(index): 1 for index in range(100_000)},
    ],
    ids=["escapes", "numbers", "strings", "brackets", "members"],
)
def test_a_large_body_takes_a_small_multiple_of_the_time_to_parse_it(body: dict[str, Any]) -> None:
    raw = orjson.dumps({**body, "priority": 1})

    def seconds(work: Any) -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    parsing = min(seconds(lambda: orjson.dumps(orjson.loads(raw))) for _ in range(3))
    editing = min(seconds(lambda: edit(raw, {"priority": None})) for _ in range(3))
    assert editing < 10 * parsing + 0.05
    assert MAX_MARKS > 10_000
