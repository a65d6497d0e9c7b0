"""Each command that a page, a task or a deliverable shows for a laptop is one that its program takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from llm_course.exercises.overlay import ENGINE
from llm_course.paths import COURSES, DOCS, ROOT

PAGES = sorted(
    [
        *(page for folder in ("course", "modules/0[124]-*") for page in DOCS.glob(f"{folder}/*.md")),
        *(page for names in ("ex*/task.md", "deliverables/*.md") for page in COURSES.glob(f"0*/{names}")),
        COURSES / "faults/task.md",
    ]
)
GPU = re.compile(r'^( *)=== "GPU"\n(?:\1    .*\n|\n)*', re.MULTILINE)
"""A tab for machines with a GPU: its commands need what is not here."""
STARTS = ("./lab ", ".venv/bin/python ", "python ", "curl ")
MADE_BY_THE_READER = ("/tmp/", "learn/", "out/", "http", "trace.jsonl", "trial.py")

NOT_IN_HELP = ("--help", "--print-config", "--max-num-sequences")
"""The last is wrong on purpose: the page shows the message."""


def commands(text: str) -> Iterator[str]:
    """Yield the command lines in a page's blocks, joined where they go on in the next line, without comments."""
    for line in GPU.sub("", text).replace("\\\n", " ").splitlines():
        shown = line.strip()
        if shown.startswith(STARTS) and (line.startswith("    ") or shown == line):
            yield re.split(r"\s+#\s|\s+[|&]", shown)[0]


SHOWN = sorted({command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))})


@cache
def help_of(*program: str) -> str:
    """Return what a program says about itself."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    argv = (sys.executable, *program, "--help")
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(program)} --help: {done.stderr}"
    return done.stdout


def program_of(words: list[str]) -> tuple[str, ...]:
    """Return what of a command line can be asked for its flags."""
    if words[0] == "./lab":
        course = ("docs", "exercise", "fault", "progress", "quiz", "cards", "traces")
        module = "llm_course" if words[1] in course else "llm_lab"
        with_action = words[1] == "fault" or (words[1] == "exercise" and not re.match(r"\d|$", (*words, "")[2]))
        return ("-m", module, *(word for word in words[1 : 3 if with_action else 2] if not word.startswith("-")))
    if words[1] == "-m":
        return tuple(words[1:4] if len(words) > 3 and not words[3].startswith("-") else words[1:3])
    return (words[1],)


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 60


@pytest.mark.parametrize("command", SHOWN)
def test_a_program_takes_the_command(command: str) -> None:
    words = shlex.split(command)
    assert words[0] != "python", "a laptop's interpreter is .venv/bin/python"
    if words[0] == "curl":
        bodies = [body for flag, body in pairwise(words) if flag == "-d"]
        assert all(json.loads(body) for body in bodies)
        return
    if words[1] in ("-c", "-", "--help") or words[1].startswith(MADE_BY_THE_READER):
        return
    if len(words) == 2 and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file()
        return
    text = help_of(*program_of(words))
    own = words[: words.index("--")] if "--" in words else words
    flags = [word for word in own if word.startswith("--") and word not in NOT_IN_HELP]
    assert [flag for flag in flags if flag not in text] == []
    if words[1].endswith("counted.py"):
        assert words[2] in text
    paths = [word.partition(":")[0] for word in words[1:] if "/" in word and not word.startswith(MADE_BY_THE_READER)]
    assert [path for path in paths if not (ROOT / path).exists() and not (ENGINE / path).exists()] == []
