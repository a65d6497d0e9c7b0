from __future__ import annotations

from pathlib import Path

import pytest

from llm_lab import paths
from llm_lab.errors import LabError
from llm_lab.upkeep.pages import refresh

PAGE = """Before
<!-- output: python -c "print(6 * 7)" -->
{}<!-- end of output -->
After <!-- output: in a line -->
    <!-- output: as an example -->
    <!-- end of output -->
"""


def page(folder: Path, text: str) -> Path:
    made = folder / "page.md"
    made.write_text(PAGE.format(text))
    return made


def test_what_a_command_prints_takes_the_place_of_what_stood_there(tmp_path: Path) -> None:
    made = page(tmp_path, "41\n")
    assert refresh(iter([made]), check=False) == [made]
    assert made.read_text() == PAGE.format("42\n")
    assert refresh(iter([made]), check=True) == []


def test_check_finds_a_stale_page_and_leaves_it(tmp_path: Path) -> None:
    made = page(tmp_path, "")
    assert refresh(iter([made]), check=True) == [made]
    assert made.read_text() == PAGE.format("")


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    made = tmp_path / "page.md"
    made.write_text('<!-- output: python -c "1 / 0" -->\n<!-- end of output -->\n')
    with pytest.raises(LabError, match="ZeroDivisionError"):
        refresh(iter([made]), check=True)


def test_a_page_takes_its_code_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "kernel.cu").write_text("// [load]\nauto x = a[i];\n// [/load]\n")
    made = tmp_path / "page.md"
    made.write_text("<!-- code: kernel.cu::load -->\nold\n<!-- end of code -->\n<!-- code: x -->\nunfinished\n")
    assert refresh(iter([made]), check=False) == [made]
    assert "```cuda\nauto x = a[i];\n```\n" in made.read_text()
    assert made.read_text().endswith("<!-- code: x -->\nunfinished\n")
    assert refresh(iter([made]), check=True) == []


def test_code_that_is_gone_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    made = tmp_path / "page.md"
    made.write_text("<!-- code: gone.py::f -->\n<!-- end of code -->\n")
    with pytest.raises(LabError, match=r"page\.md: gone\.py::f"):
        refresh(iter([made]), check=True)
