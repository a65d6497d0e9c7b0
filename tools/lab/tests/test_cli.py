import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import llm_lab.__main__  # noqa: F401  # what a process below runs
from llm_lab import __version__, paths, service, stack, vllm
from llm_lab.cli import main
from llm_lab.environment import Environment
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


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["up", "--policy", "random"], ["demo", "--engine", "x"], ["logs", "-n", "few"], ["logs", "-n", "-1"]],
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_without_a_command_the_commands_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    printed = capsys.readouterr().out
    for command in ("demo", "priorities", "quantize", "up", "down", "status", "logs", "vllm", "lock", "pages"):
        assert re.search(rf"^ +{command}\s+\w+", printed, re.MULTILINE), command


def test_the_engines_get_the_flags_behind_the_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[Sequence[str]]] = []

    def start(kind: str, started: list[object], flags: Sequence[Sequence[str]], **_: object) -> tuple[()]:
        asked.append(flags)
        raise LabError("enough")

    monkeypatch.setattr(stack, "start_engines", start)
    assert main(["up", "--policy", "fcfs", "--", "--num-gpu-blocks-override", "130"]) == 1
    assert asked == [(["--num-gpu-blocks-override", "130"],) * stack.REPLICAS]


def test_a_model_is_quantised_with_small_settings_and_the_flags_behind_the_dashes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["quantize", "--", "--items", "8"]) == 1
    assert "llm-quantize ended with status 1" in capsys.readouterr().err
    assert tuple(asked[0][1:5]) == ("-m", "llm_quantize", "run", str(paths.MODEL))
    assert tuple(asked[0][-2:]) == ("--items", "8")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"lab {__version__}\n")


INTERRUPTER = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
"""


@pytest.mark.parametrize("module", ["llm_lab.cli", "rich.console", "llm_lab.demo"])
def test_an_interrupt_while_it_starts_is_one_line(tmp_path: Path, module: str) -> None:
    """The signal comes at the moment the module is looked for."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "INTERRUPT_AT": module}
    ended = subprocess.run([sys.executable, "-m", "llm_lab"], env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"lab: interrupted\n")


@pytest.mark.parametrize(
    "wrong", ["--loads=1,abc", "--loads=-1", "--loads=", "--seconds=nan", "--seeds=0", "--seeds=x"]
)
def test_priorities_says_which_number_is_wrong(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["priorities", wrong])
    assert ended.value.code == 2
    assert "number above 0" in capsys.readouterr().err


def test_vllm_elsewhere_than_on_x86_64_linux_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vllm, "VENV", Environment(tmp_path / "venv", tmp_path / "lock"))
    monkeypatch.setattr(vllm.platform, "machine", lambda: "arm64")
    with pytest.raises(LabError, match="x86-64 Linux only"):
        vllm.install()


def test_a_router_gets_the_engines_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[service.Service] = []
    monkeypatch.setattr(service, "start", lambda each, _: started.append(each))
    stack.start_router("llm-engine", [], flags=("--speculative-config", '{"method": "ngram"}'))
    words = started[0].argv
    command = words[words.index("--engine-command") + 1]
    assert "--port '{port}'" in command
    assert '{{"method": "ngram"}}' in command
