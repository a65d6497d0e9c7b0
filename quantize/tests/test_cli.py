"""The command: from a folder to a folder, exit statuses, one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_quantize.cli import main

MODEL = "models/zoo/llama"


def test_a_model_is_quantised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    text = ("--samples", "4", "--length", "64", "--text", "models/eval/heldout.txt")
    assert main(["quantize", MODEL, "--method", "gptq", "--group-size", "32", *text, "--out", str(out)]) == 0
    assert "largest relative error of outputs" in capsys.readouterr().out
    assert json.loads((out / "quantization.json").read_text())["recipe"]["group_size"] == 32


def test_flags_win_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("method: rtn\ngroup_size: 64\nsymmetric: false\n")
    flags = ("--recipe", str(tmp_path / "recipe.yaml"), "--group-size", "32")
    assert main(["quantize", MODEL, *flags, "--out", str(tmp_path / "out")]) == 0
    recipe = json.loads((tmp_path / "out" / "quantization.json").read_text())["recipe"]
    assert (recipe["method"], recipe["group_size"], recipe["symmetric"]) == ("rtn", 32, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models/missing", "--method", "rtn"], "no config.json"),
        ([MODEL, "--method", "rtn"], "groups of 128 do not divide"),
        ([MODEL, "--method", "awq", "--format", "gptq", "--no-symmetric"], "compressed-tensors and awq can"),
        ([MODEL, "--recipe", "missing.yaml"], "cannot be read"),
        ([MODEL, "--method", "rtn", "--group-size", "32", "--device", "cuda:99"], "cuda:99"),
    ],
)
def test_mistakes_are_said_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", *arguments, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("llm-quantize: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert "llm-quantize" in capsys.readouterr().out
