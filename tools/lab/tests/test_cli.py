from pathlib import Path

import pytest

from llm_lab import paths, vllm
from llm_lab.cli import main
from llm_lab.errors import LabError


@pytest.fixture(autouse=True)
def _nothing_is_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "STACK_FILE", tmp_path / "stack.json")


def test_status_and_down_with_nothing_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert main(["down"]) == 0
    assert "Nothing is running" in capsys.readouterr().out


def test_logs_with_nothing_running_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--policy", "random"], ["demo", "--engine", "x"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "wrong", ["--loads=1,abc", "--loads=-1", "--loads=", "--seconds=nan", "--seeds=0", "--seeds=x"]
)
def test_priorities_says_which_number_is_wrong(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["priorities", wrong])
    assert ended.value.code == 2
    assert "number above 0" in capsys.readouterr().err


def test_vllm_elsewhere_than_on_x86_64_linux_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vllm, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(vllm.platform, "machine", lambda: "arm64")
    with pytest.raises(LabError, match="x86-64 Linux only"):
        vllm.install()
