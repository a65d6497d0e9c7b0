"""`./lab up --learner`: the stack's answers come from the engine with the learner's module."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_course import paths as course_paths
from llm_course.cli import main as course
from llm_lab import paths, stack
from llm_lab.cli import main as lab

MODULE = "request/detokenizer.py"


@pytest.fixture
def learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The learner's folder, and a stack of the test's own, which ends with it."""
    monkeypatch.setenv("COURSE_LEARN", str(tmp_path / "learn"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr(course_paths, "LEARN", tmp_path / "learn")
    for name, path in {"STATE": "", "LOGS": "logs", "STACK_FILE": "stack.json"}.items():
        monkeypatch.setattr(paths, name, tmp_path / "lab" / path)
    yield tmp_path / "learn"
    lab(["down"])


def test_an_answer_shows_the_learners_module(learn: Path) -> None:
    assert course(["exercise", "edit", MODULE]) == 0
    mine = learn / "engine/llm_engine" / MODULE
    text = mine.read_text()
    assert text.count("        return new\n") == 1
    mine.write_text(text.replace("        return new\n", "        return new.upper()\n"))
    assert lab(["up", "--learner"]) == 0
    answered = {ask(each.url) for each in stack.load() if each.name != stack.MONITOR}
    assert len(answered) == 1, "both engines and the gateway"
    assert [answer for answer in answered if answer.upper() == answer != answer.lower()]


def ask(url: str) -> str:
    body = {"model": "main", "prompt": "def fibonacci(n):", "max_tokens": 16, "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["choices"][0]["text"])
