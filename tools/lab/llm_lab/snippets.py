"""Code in pages, by name: a page shows what the file says today, and fails its check when the name is gone.

    services/engine/llm_engine/scheduler/scheduler.py::Scheduler.schedule      a class, function or method of Python
    kernels/llm_kernels/cuda/gemm.cu::pipeline                                 between `[pipeline]` and `[/pipeline]`

A region's marks stand in comments of their own lines, which are left out.
"""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from llm_lab.errors import LabError

LANGUAGES = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".cpp": "cpp", ".lua": "lua", ".yaml": "yaml", ".sh": "sh"}


def snippet(root: Path, name: str) -> str:
    """Return the fenced code that `path::symbol` names, below `root`; LabError if there is none."""
    path, _, symbol = name.partition("::")
    try:
        text = (root / path).read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"{name}: {error.strerror}") from None
    code = _definition(text, symbol) if path.endswith(".py") else _region(text, symbol)
    if code is None:
        raise LabError(f"{name}: {path} has no {symbol or 'symbol'!r}")
    return f"```{LANGUAGES.get(Path(path).suffix, '')}\n{textwrap.dedent(code).strip(chr(10))}\n```\n"


def _definition(text: str, symbol: str) -> str | None:
    """Return the source of a dotted name, decorators included."""
    body: list[ast.stmt] = ast.parse(text).body
    found: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None = None
    for part in symbol.split("."):
        definitions = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
        found = next((node for node in definitions if node.name == part), None)
        if found is None:
            return None
        body = found.body
    if found is None:
        return None
    first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : found.end_lineno])


def _region(text: str, name: str) -> str | None:
    lines = text.splitlines()
    begin = [number for number, line in enumerate(lines) if f"[{name}]" in line]
    end = [number for number, line in enumerate(lines) if f"[/{name}]" in line]
    if len(begin) != 1 or len(end) != 1 or not begin[0] < end[0]:
        return None
    return "\n".join(lines[begin[0] + 1 : end[0]])
