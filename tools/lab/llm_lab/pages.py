"""`./lab pages`: figures in Markdown pages come from results files; it puts them there, `--check` finds stale ones.

    <!-- output: python services/gateway/benchmarks/tables.py overhead -->
    … whatever the command printed …
    <!-- end of output -->

Commands run at the repository's root, with this environment's Python for `python`.
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

BLOCK = re.compile(r"^(<!-- output: (.+?) -->\n).*?^(<!-- end of output -->)", re.DOTALL | re.MULTILINE)
"""At the beginning of a line: one that is indented is an example."""


def refresh(pages: Iterator[Path], *, check: bool) -> list[Path]:
    """The pages whose text was out of date; they are written anew unless `check`. Raises LabError for a command."""
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
    begin, command, end = block.groups()
    return begin + _output(command, page) + end


def _output(command: str, page: Path) -> str:
    program, *arguments = shlex.split(command)
    argv = (str(paths.PYTHON) if program == "python" else program, *arguments)
    done = subprocess.run(argv, cwd=paths.ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{page}: `{command}` ended with status {done.returncode}:\n{done.stderr}")
    return done.stdout.rstrip("\n") + "\n"
