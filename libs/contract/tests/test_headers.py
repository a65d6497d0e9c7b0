from __future__ import annotations

import pytest

from llm_contract.headers import trace_id

ID = "0af7651916cd43dd8448eb211c80319c"


def test_the_trace_id_is_the_second_part_of_traceparent() -> None:
    assert trace_id({"traceparent": f"00-{ID}-b7ad6b7169203331-01"}) == ID


@pytest.mark.parametrize(
    "value", ["", "00", f"00-{ID}", f"00-{ID.upper()}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01"]
)
def test_a_broken_traceparent_names_no_trace(value: str) -> None:
    assert trace_id({"traceparent": value}) is None
    assert trace_id({}) is None
