from __future__ import annotations

import pytest
from multidict import CIMultiDict

from llm_proxy.request.identity import request_id


def test_a_request_keeps_its_own_id() -> None:
    assert request_id(CIMultiDict({"X-Request-Id": "abc-1"})) == "abc-1"


@pytest.mark.parametrize("given", ["", "two words", "é", "x" * 129])
def test_an_unusable_id_is_replaced(given: str) -> None:
    found = request_id(CIMultiDict({"x-request-id": given}))
    assert found != given
    assert len(found) == 32
