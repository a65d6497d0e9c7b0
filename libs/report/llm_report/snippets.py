"""Code in pages, by name: a page shows the file as it is today, and its check fails once the name is gone.

    services/engine/llm_engine/scheduler/scheduler.py::Scheduler.schedule      a class, function, method or constant
    kernels/llm_kernels/cuda/gemm.cu::pipeline                                 between `[pipeline]` and `[/pipeline]`

A region's marks stand in comments of their own lines, which are left out.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

LANGUAGES = {
    ".py": "python",
    ".cu": "cuda",
    ".cuh": "cuda",
    ".cpp": "cpp",
    ".lua": "lua",
    ".yaml": "yaml",
    ".sh": "sh",
    ".json": "json",
    ".toml": "toml",
    ".js": "javascript",
    ".css": "css",
}


class SnippetError(ValueError):
    """A name that stands for no code; the message begins with the name."""


@dataclass(frozen=True, slots=True)
class Snippet:
    path: str
    """Relative to the root that it was cut below, with slashes."""
    first: int
    last: int
    """Numbers of its lines in the file, counted from 1."""
    code: str
    """Without common indentation, without a line break at the end."""

    @property
    def language(self) -> str:
        """Return the language by Pygments' name, "" if the suffix is not known."""
        return LANGUAGES.get(Path(self.path).suffix, "")


def cut(root: Path, name: str) -> Snippet:
    """Return the code that `path::symbol` names, below `root`; SnippetError if there is none."""
    path, _, symbol = name.partition("::")
    try:
        text = (root / path).read_text(encoding="utf-8")
    except OSError as error:
        raise SnippetError(f"{name}: {error.strerror}") from None
    lines = _definition(text, symbol) if path.endswith(".py") else _region(text, symbol)
    if lines is None:
        raise SnippetError(f"{name}: {path} has no {symbol or 'symbol'!r}")
    first, last = lines
    code = textwrap.dedent("\n".join(text.splitlines()[first - 1 : last])).strip("\n")
    return Snippet(path, first, last, code)


def fenced(snippet: Snippet) -> str:
    """Return the code as a Markdown block, whose fence is longer than any in the code."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", snippet.code)), default=0))
    return f"{fence}{snippet.language}\n{snippet.code}\n{fence}\n"


def _definition(text: str, symbol: str) -> tuple[int, int] | None:
    """Return the first and last line of a dotted name, decorators included."""
    body: list[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for part in symbol.split("."):
        found = next((node for node in body if part in _names(node)), None)
        if found is None:
            return None
        body = getattr(found, "body", [])
    if found is None or found.end_lineno is None:
        return None
    decorators: list[ast.expr] = getattr(found, "decorator_list", [])
    return min([found.lineno, *(decorator.lineno for decorator in decorators)]), found.end_lineno


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _region(text: str, name: str) -> tuple[int, int] | None:
    lines = text.splitlines()
    begin = [number for number, line in enumerate(lines, 1) if f"[{name}]" in line]
    end = [number for number, line in enumerate(lines, 1) if f"[/{name}]" in line]
    if not name or len(begin) != 1 or len(end) != 1 or not begin[0] < end[0] - 1:
        return None
    return begin[0] + 1, end[0] - 1
