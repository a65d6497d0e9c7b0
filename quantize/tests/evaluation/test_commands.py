from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_quantize.cli import main


def run(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def test_from_two_folders_to_a_report(
    tiny: Path,
    make_rounded: Callable[[Path, int], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    full, coarse = (tmp_path / "llama" / method / "evaluation.json" for method in ("full", "rtn3"))
    few = ("--items", 32, "--benchmark", "perplexity", "--benchmark", "brackets")
    assert run("evaluate", tiny, *few, "--out", full) == 0
    assert "Perplexity" in capsys.readouterr().out
    assert run("evaluate", make_rounded(tiny, 3), *few, "--reference", tiny, "--out", coarse) == 0
    capsys.readouterr()

    assert run("compare", full, coarse.parent) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("perplexity") and " worse " in line for line in printed)
    assert any(line.startswith("brackets") for line in printed)

    assert run("report", tmp_path, "--out", tmp_path / "out", "--title", "Three bits") == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "out" / "page.html"
    assert "<title>Three bits</title>" in page.read_text()
    assert json.loads(full.read_text())["name"] == "llama"


@pytest.mark.parametrize("items", ["0", "-1", "many"])
def test_wrong_usage_is_said(items: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("evaluate", "model", "--items", items)
    assert f"must be a whole number of 1 or more, not '{items}'" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_an_error(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run("evaluate", tiny, "--benchmark", "brackets", "--items", 8, "--out", tmp_path / "file" / "a.json") == 1
    assert "a.json cannot be written" in capsys.readouterr().err
