"""Answers that are programs: a few lines of the learner's, run with hidden assertions in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from llm_course.paths import ROOT
from llm_course.quiz.questions import Code

TIMEOUT = 20.0
"""Seconds."""
MARK = "\n# --- the quiz's own assertions ---\n"


@dataclass(frozen=True, slots=True)
class Run:
    passed: bool
    message: str
    """The assertion's reason, the error's last line, or nothing."""


def run(question: Code, program: str, timeout: float = TIMEOUT) -> Run:
    """Run the program and then the assertions."""
    command = [sys.executable, "-c", program + MARK + question.asserts]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Run(False, f"It did not end within {timeout:.0f} seconds.")
    if done.returncode == 0:
        return Run(True, "")
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"It ended with status {done.returncode}."
    return Run(False, last.removeprefix("AssertionError: "))
