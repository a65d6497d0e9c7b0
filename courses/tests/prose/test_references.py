"""A text may only name files and symbols that are there."""

from __future__ import annotations

import pytest

from llm_course.prose import references


@pytest.mark.parametrize(
    "text",
    [
        "no code at all, `grow` and `a.py` have no folder",
        "`courses/llm_course/errors.py`",
        "`progress/log.py::Log.merge`, `progress/log.py::KINDS` and `progress/log.py::Event.at`",
    ],
)
def test_what_is_there_passes(text: str) -> None:
    assert list(references.complaints(text)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("`progress/nothing.py`", "`progress/nothing.py` is no file"),
        ("see `progress/log.py::Log.nothing`", "`progress/log.py` has no Log.nothing"),
        ("see `progress/log.py::nothing`", "`progress/log.py` has no nothing"),
    ],
)
def test_what_is_not_there_is_named(text: str, complaint: str) -> None:
    assert list(references.complaints(text)) == [complaint]


@pytest.mark.skipif(references.vllm() is None, reason="./lab vllm installs vLLM")
def test_vllm_is_looked_up_where_it_is_installed() -> None:
    assert list(references.complaints("`vllm/v1/core/block_pool.py::BlockPool.get_new_blocks`")) == []
    assert list(references.complaints("`vllm/v1/core/block_pool.py::BlockPool.nothing`")) != []
