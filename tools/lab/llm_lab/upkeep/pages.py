"""`./lab pages`: figures and code in Markdown pages come from commands and files; `--check` finds stale ones.

    <!-- output: python services/gateway/benchmarks/tables.py overhead -->
    … the command's output …
    <!-- end of output -->

    <!-- code: services/engine/llm_engine/scheduler/scheduler.py::Scheduler.schedule -->
    … the method's source …
    <!-- end of code -->

Commands run at the repository's root, with this environment's Python for `python`; `llm_report.snippets` says how code
is named.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from llm_lab import paths
from llm_lab.errors import LabError
from llm_report.snippets import SnippetError, cut, fenced

BLOCK = re.compile(r"^(<!-- (output|code): (.+?) -->\n).*?^(<!-- end of \2 -->)", re.DOTALL | re.MULTILINE)
"""A block begins its line; an indented one is an example."""


def refresh(pages: Iterator[Path], *, check: bool) -> list[Path]:
    """Return the pages that were out of date; write them anew unless `check`. LabError if a command or name fails."""
    stale = []
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new = BLOCK.sub(partial(_renewed, page), old)
        if new != old:
            stale.append(page)
            if not check:
                page.write_text(new, encoding="utf-8")
    return stale


def tracked_pages() -> Iterator[Path]:
    listed = subprocess.run(
        ("git", "ls-files", "-z", "*.md"), cwd=paths.ROOT, check=True, capture_output=True, text=True
    )
    return (paths.ROOT / name for name in listed.stdout.split("\0") if name)


def _renewed(page: Path, block: re.Match[str]) -> str:
    begin, kind, source, end = block.groups()
    return begin + (_output(source, page) if kind == "output" else _code(source, page)) + end


def _code(name: str, page: Path) -> str:
    try:
        return fenced(cut(paths.ROOT, name))
    except SnippetError as error:
        raise LabError(f"{page}: {error}") from None


def _output(command: str, page: Path) -> str:
    program, *arguments = shlex.split(command)
    argv = (str(paths.PYTHON) if program == "python" else program, *arguments)
    done = subprocess.run(argv, cwd=paths.ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{page}: `{command}` ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout.rstrip("\n") + "\n"
