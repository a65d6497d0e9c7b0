from __future__ import annotations

import pytest

from llm_monitor.external.selector import parse_selector

LABELS = {"model_name": "main", "class": "batch", "app.kubernetes.io/name": "engine"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("model_name=main", True),
        ("model_name==main", True),
        ("model_name=other", False),
        ("model_name!=other", True),
        ("absent!=other", True),
        ("absent=", False),
        ("app.kubernetes.io/name=engine", True),
        ("model_name", True),
        ("absent", False),
        ("!absent", True),
        ("!model_name", False),
        ("class in (batch,standard)", True),
        ("class in (standard)", False),
        ("class notin (standard, interactive)", True),
        ("absent notin (x)", True),
        ("class in (batch),model_name=main,!absent", True),
        ("class in (batch),model_name=other", False),
    ],
)
def test_selectors_match_as_in_kubernetes(text: str, expected: bool) -> None:
    assert parse_selector(text)(LABELS) is expected


@pytest.mark.parametrize("text", ["a=b=c", "a in", "a in (b", "=b", ",", "a b", "a>1"])
def test_text_that_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no label selector"):
        parse_selector(text)
