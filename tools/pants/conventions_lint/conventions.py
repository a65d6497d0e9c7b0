"""Conventions that no other linter knows: how docstrings begin, how large things get, and which way imports point.

    python3 tools/pants/conventions_lint/conventions.py $(git ls-files '*.py')

`./pants lint ::` runs it on every Python file at once. It needs the standard library alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 45
"""Lines of a function without its signature and docstring."""
MOST_MODULES = 20
"""Python files in one folder of a package."""
MOST_POSITIONAL = 4
"""Parameters that can be given without their names."""
MOST_POSITIONAL_FIELDS = 8
"""The same of a dataclass, whose fields a reader has together before them."""
LIKE_FORMULAS = {"kernels"}
"""Projects whose functions keep the signatures of the CUDA and Triton kernels that they launch."""
GIVEN = "# signature: given by"
"""Comment on the line of a `def` whose parameters are another program's to choose."""

PROSE = {
    r"(Of|What|Who|Whoever|Whose)\b": "begin with the verb or the noun that the sentence is about",
}
"""Beginning of a docstring -> what is wrong with it."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def is_test(self) -> bool:
        return "tests" in self.path.parts


class Complaint(NamedTuple):
    path: PurePosixPath
    line: int
    text: str


def main(paths: Sequence[str]) -> int:
    complaints = sorted(check([read(path) for path in paths]))
    for complaint in complaints:
        print(f"{complaint.path}:{complaint.line}: {complaint.text}")
    print(f"{len(paths)} files, {len(complaints)} complaints")
    return 1 if complaints else 0


def read(path: str) -> Source:
    text = Path(path).read_text(encoding="utf-8")
    return Source(PurePosixPath(path), text, ast.parse(text, path))


def check(sources: Sequence[Source]) -> Iterator[Complaint]:
    for source in sources:
        yield from check_prose(source)
        yield from check_sizes(source)
        if not source.is_test and source.path.parts[0] not in LIKE_FORMULAS:
            yield from check_parameters(source)
            yield from check_fields(source)
    yield from check_folders(sources)
    yield from check_circles(sources)


def check_prose(source: Source) -> Iterator[Complaint]:
    for line, text in docstrings(source.tree):
        for pattern, reason in PROSE.items():
            if found := re.match(pattern, text):
                yield Complaint(source.path, line, f"a docstring that begins with {found[0]!r}: {reason}")


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each string statement: docstrings, and the notes under fields and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def check_sizes(source: Source) -> Iterator[Complaint]:
    lines = len(source.text.splitlines())
    if lines > MOST_FILE_LINES:
        yield Complaint(source.path, 1, f"the file has {lines} lines; split it: {MOST_FILE_LINES} are allowed")
    for function in functions(source.tree):
        lines = body_lines(function)
        if lines > MOST_FUNCTION_LINES and not is_kernel(function):
            text = f"`{function.name}` has {lines} lines; split it: {MOST_FUNCTION_LINES} are allowed"
            yield Complaint(source.path, function.lineno, text)


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def is_kernel(function: Function) -> bool:
    """Return whether a function is a Triton kernel: Triton compiles it whole, so its length is not limited."""
    return any("triton.jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


def check_parameters(source: Source) -> Iterator[Complaint]:
    """Complain about more than four positional parameters: two swapped arguments of one type go unnoticed."""
    for function in functions(source.tree):
        given = [*function.args.posonlyargs, *function.args.args]
        count = len(given) - (bool(given) and given[0].arg in ("self", "cls"))
        if count > MOST_POSITIONAL and GIVEN not in source.text.splitlines()[function.lineno - 1]:
            text = f"`{function.name}` takes {count} parameters by position; {MOST_POSITIONAL} are allowed: use `*`"
            yield Complaint(source.path, function.lineno, text)


def check_fields(source: Source) -> Iterator[Complaint]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and is_dataclass(node):
            count = positional_fields(node)
            if count > MOST_POSITIONAL_FIELDS:
                allowed = f"{MOST_POSITIONAL_FIELDS} are allowed: use kw_only=True"
                text = f"`{node.name}` takes {count} fields by position; {allowed}"
                yield Complaint(source.path, node.lineno, text)


def is_dataclass(node: ast.ClassDef) -> bool:
    written = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(each.startswith("dataclass") and "kw_only=True" not in each for each in written)


def positional_fields(node: ast.ClassDef) -> int:
    """Return the fields that the constructor takes by position, before `_: KW_ONLY`."""
    count = 0
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            written = ast.unparse(statement)
            if written.endswith("KW_ONLY"):
                break
            count += "init=False" not in written and "ClassVar" not in written
    return count


def check_folders(sources: Sequence[Source]) -> Iterator[Complaint]:
    modules = Counter(source.path.parent for source in sources if not source.is_test)
    for folder, count in modules.items():
        if count > MOST_MODULES:
            yield Complaint(folder, 1, f"the folder has {count} modules; make packages: {MOST_MODULES} are allowed")


def check_circles(sources: Sequence[Source]) -> Iterator[Complaint]:
    """Complain about import circles: such files cannot be read, tested or moved alone. Type imports count."""
    modules = {module_name(source.path): source for source in sources if not source.is_test}
    graph = {name: imported_modules(name, source.tree, modules) for name, source in modules.items()}
    for circle in circles(graph):
        yield Complaint(modules[circle[0]].path, 1, f"files import each other in a circle: {', '.join(circle)}")


def module_name(path: PurePosixPath) -> str:
    """Return the module's name: `services/engine/llm_engine/server/app.py` -> `llm_engine.server.app`."""
    parts = list(path.with_suffix("").parts)
    start = next((index for index, part in enumerate(parts) if part.startswith("llm_")), 0)
    return ".".join(parts[start:-1] if parts[-1] == "__init__" else parts[start:])


def imported_modules(name: str, tree: ast.Module, modules: dict[str, Source]) -> set[str]:
    """Return those of `modules` that the file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(each if each in modules else node.module for each in inner)
    return {each for each in found if each in modules and each != name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan, 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], order[other])
        if lowest[node] == order[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in order:
            visit(node)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
