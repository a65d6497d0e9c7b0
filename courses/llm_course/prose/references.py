"""Code that a text names in backticks, held against the sources.

`services/engine/llm_engine/engine.py`       a file of this repository
`kv_cache/block_pool.py::BlockPool.allocate` a symbol in it; the end of a path is enough
`vllm/v1/core/block_pool.py::BlockPool`      vLLM's, looked up where `./lab vllm` installed it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llm_course.paths import ROOT
from llm_course.prose.claims import Claim, ClaimError
from llm_report.snippets import SnippetError, cut

REFERENCE = re.compile(r"`(?P<path>[\w./-]+/[\w.-]+\.(?:py|md|json|yaml|toml|cu|cuh|cpp))(?:::(?P<symbol>[\w.]+))?`")
PLACES = ("services", "bench", "kernels", "models", "libs", "tools", "courses", "docs", "tests", ".ci")
VLLM = "vllm/"


def complaints(text: str) -> Iterator[str]:
    """Say which files and symbols that the text names are not there."""
    for match in REFERENCE.finditer(text):
        path, symbol = match["path"], match["symbol"]
        if path.startswith(VLLM):
            if (installed := vllm()) is None:
                continue
            try:
                Claim(path, symbol).check(installed)
            except ClaimError as error:
                yield str(error)
            continue
        found = files_ending(path)
        if not found:
            yield f"`{path}` is no file"
        elif symbol is not None and not any(has_symbol(file, symbol) for file in found):
            yield f"`{path}` has no {symbol}"


def files_ending(path: str) -> list[Path]:
    """Return the repository's files whose path is `path` or ends in it."""
    direct = ROOT / path
    if direct.is_file():
        return [direct]
    return [file for file in _by_name().get(Path(path).name, []) if file.as_posix().endswith("/" + path)]


@cache
def _by_name() -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for place in PLACES:
        for file in (ROOT / place).rglob("*.*"):
            files.setdefault(file.name, []).append(file)
    return files


@cache
def vllm() -> Path | None:
    """Return the folder that holds the installed vLLM's package; None without `./lab vllm`."""
    return next(iter(sorted(ROOT.glob(".venv-vllm/lib/python*/site-packages"))), None)


def has_symbol(file: Path, symbol: str) -> bool:
    """Return whether the file defines the name (`Class.method`, a constant, a field), or has a region of that name."""
    try:
        cut(file.parent, f"{file.name}::{symbol}")
    except SnippetError:
        return False
    return True
