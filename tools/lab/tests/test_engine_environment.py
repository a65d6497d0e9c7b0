"""The course's commands from ./lab: a failure is one line, and an engine's folder goes first on its path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from llm_lab import projects, stack
from llm_lab.cli import main
from llm_lab.engines import engine
from llm_lab.errors import LabError

Answer = Callable[[int, str, str], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Have the course's command end like this: answer(status, stdout, stderr)."""

    def end_with(status: int, out: str, err: str) -> None:
        def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, status, out, err)

        monkeypatch.setattr(subprocess, "run", run)

    return end_with


def test_the_folder_goes_before_what_is_there(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(0, "/learn/.engine\n", "")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert projects.engine_environment("exercise", "engine") == {"PYTHONPATH": f"/learn/.engine{os.pathsep}/ours"}
    monkeypatch.delenv("PYTHONPATH")
    environment = projects.engine_environment("exercise", "engine")
    assert environment == {"PYTHONPATH": "/learn/.engine"}
    assert engine("llm-engine", 0, 8101, environment=environment).env == environment


def test_a_command_that_fails_is_one_line(answer: Answer) -> None:
    answer(1, "", "lab: fault 3 is not started; ./lab fault start 3\n")
    with pytest.raises(LabError, match=r"^fault 3 is not started; ./lab fault start 3$"):
        projects.engine_environment("fault", "engine", "3")


@pytest.mark.parametrize("other", [("--engine", "vllm"), ("--router",)], ids=["engine", "router"])
def test_other_engines_have_no_learners_modules(
    other: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "load", list)
    assert main(["up", *other, "--learner"]) == 2
    told = "lab: --learner and --fault are for our engine alone; leave --engine and --router out\n"
    assert capsys.readouterr().err == told
