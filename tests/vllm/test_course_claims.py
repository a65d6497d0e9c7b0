"""The files and names of vLLM that the course's pages speak about are there in the installed version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_course.paths import DOCS, ROOT
from llm_course.prose import claims
from llm_lab import paths, vllm

CLAIM = re.compile(r"\{\{\s*(vllm vllm/[^}]*?)\s*\}\}")


def written() -> Iterator[tuple[str, str]]:
    """Yield page and text of each claim, of pages written by hand and of exercises' tasks."""
    pages = [file for file in DOCS.rglob("*.md") if "generated" not in file.parts]
    for page in [*pages, *(ROOT / "courses").glob("0*/**/*.md")]:
        for claim in CLAIM.findall(page.read_text(encoding="utf-8")):
            yield page.relative_to(ROOT).as_posix(), claim


@pytest.fixture(scope="module")
def packages() -> Path:
    assert vllm.is_installed(), "vLLM is not there; ./lab vllm installs it"
    (folder,) = (paths.VLLM_VENV / "lib").glob("python3.*/site-packages")
    return folder


@pytest.mark.parametrize(("page", "claim"), sorted(set(written())))
def test_file_and_name_are_there(packages: Path, page: str, claim: str) -> None:
    claims.parse(claim).check(packages)
