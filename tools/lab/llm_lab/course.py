"""The course's commands, which its own project carries out."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from llm_lab import paths

COMMANDS = {
    "progress": "what you did in the course so far",
    "traces": "record the traces that the pages replay",
}


def run(words: Sequence[str]) -> int:
    """Hand a command line over to the course and return its exit status."""
    command = (str(paths.PYTHON), "-m", "llm_course", *words)
    return subprocess.run(command, cwd=paths.ROOT, check=False).returncode
