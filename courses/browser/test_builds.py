"""Both builders build the site without a warning, every link leads somewhere, and an error on a page fails both."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_course.paths import DOCS, ROOT
from llm_course.site import build
from llm_course.site.links import Site


@pytest.fixture(params=["site", "zensical_site"])
def built(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(request.param)
    return folder


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_outside(built: Path) -> None:
    assert list(Site(built).faults()) == []


def test_every_page_is_there(built: Path) -> None:
    pages = {file.relative_to(DOCS).with_suffix(".html").as_posix() for file in DOCS.rglob("*.md")}
    made = {file.relative_to(built).as_posix() for file in built.rglob("*.html")} - {"404.html"}
    assert {page.replace("README.html", "index.html") for page in pages} == made


COLOUR = re.compile(r"\x1b\[[\d;]*m")
BROKEN = {
    "code": '```python\n--source-- "services/engine/llm_engine/engine.py::Gone"\n```',
    "figure": "{{ services/engine/results/leaks.json :: gone }}",
    "claim": "{{ vllm gone }}",
    "file": "[a file](../services/engine/gone.py)",
    "page": "[a page](course/gone.md)",
    "anchor": "[an anchor](glossary.md#gone)",
}


@pytest.fixture(scope="module")
def small_docs() -> Iterator[Path]:
    """Return a docs folder of its own below the root, as zensical requires, and remove it afterwards."""
    folder = ROOT / "out" / "site-broken" / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "glossary.md").write_text("# Glossary\n")
    yield folder
    for file in sorted(folder.parent.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.parent.rmdir()


@pytest.mark.parametrize("builder", build.COMMANDS)
@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_on_a_page_fails_the_build(small_docs: Path, builder: str, kind: str) -> None:
    (small_docs / "index.md").write_text(f"# Home\n\n{BROKEN[kind]}\n")
    config = small_docs.parent / "mkdocs.yml"
    config.write_text(
        (ROOT / "mkdocs.yml")
        .read_text(encoding="utf-8")
        .replace("INHERIT: docs/generated/.navigation.yml", "# no navigation:")
        .replace("watch: [", "# watch: [")
    )
    program, *arguments = build.COMMANDS[builder]
    command = (str(build.VENV.folder / "bin" / program), *arguments, "-f", str(config))
    done = subprocess.run(command, env={**os.environ, "LLM_SITE": "site"}, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    printed = COLOUR.sub("", done.stdout + done.stderr)
    assert "gone" in printed.lower()
