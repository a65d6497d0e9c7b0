"""One file's definitions put into another: a wrong solution says only what it does differently, and so cannot drift.

    class BlockPool:
        def share(self, block: int) -> None:
            self.ref_counts[block] += 1

takes the place of `BlockPool.share` in the file it is grafted onto, and nothing else there changes. Functions, methods
and names that are assigned to can be replaced; a change of the engine can also add new ones and import more.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from llm_course.errors import CourseError

Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines `first <= number < last` (from 1) become `lines`."""

    first: int
    last: int
    lines: tuple[str, ...]


def graft(base: str, patch: str, *, may_add: bool = False) -> str:
    """Return `base` with each definition of `patch` in the place of its namesake.

    CourseError if a namesake is missing (unless `may_add`: it then follows its neighbour in `patch`), or if a function
    that is replaced took other parameters.
    """
    grafting = _Grafting(patch.split("\n"), may_add)
    tree = ast.parse(base)
    grafting.visit(tree.body, ast.parse(patch).body, end=len(base.split("\n")), path="")
    grafting.add_imports(tree, ast.parse(patch))
    lines = base.split("\n")
    grafting.edits.sort(key=lambda edit: edit.first)
    for edit in reversed(grafting.edits):
        lines[edit.first - 1 : edit.last - 1] = edit.lines
    return "\n".join(lines)


def definitions(text: str) -> list[str]:
    """Return the dotted names that a graft of this text replaces or adds."""
    return [path for path, _ in _leaves(ast.parse(text).body, "")]


class _Grafting:
    def __init__(self, lines: list[str], may_add: bool) -> None:
        self.edits: list[Edit] = []
        self._lines = lines
        self._may_add = may_add

    def visit(self, base: list[ast.stmt], patch: list[ast.stmt], *, end: int, path: str) -> None:
        """Note the edits of one body; `end` is the line after which new definitions go if no neighbour is there."""
        known = {name: node for node in base if (name := _name(node))}
        after = end
        for node in patch:
            name = _name(node)
            if name is None:
                continue
            old = known.get(name)
            if old is None:
                self._add(node, after, f"{path}{name}")
            elif isinstance(old, ast.ClassDef) and isinstance(node, ast.ClassDef):
                self.visit(old.body, node.body, end=_end(old), path=f"{path}{name}.")
            else:
                _check_parameters(old, node, f"{path}{name}")
                self.edits.append(Edit(_begin(old), _end(old) + 1, self._source(node)))
            after = after if old is None else _end(old)

    def add_imports(self, base: ast.Module, patch: ast.Module) -> None:
        """Import what the patch needs and the base has not yet, below the base's own imports."""
        have = {ast.dump(node) for node in base.body}
        new = [node for node in patch.body if isinstance(node, ast.Import | ast.ImportFrom)]
        missing = [line for node in new if ast.dump(node) not in have for line in self._source(node)]
        last = max((_end(node) for node in base.body if isinstance(node, ast.Import | ast.ImportFrom)), default=0)
        if missing:
            self.edits.append(Edit(last + 1, last + 1, tuple(missing)))

    def _add(self, node: ast.stmt, after: int, path: str) -> None:
        if not self._may_add:
            raise CourseError(f"{path} replaces nothing: the solution has no such definition")
        gap = ("", "") if "." not in path else ("",)
        self.edits.append(Edit(after + 1, after + 1, (*gap, *self._source(node))))

    def _source(self, node: ast.stmt) -> tuple[str, ...]:
        """Return the definition's lines, with comments that end its body: `# endregion` is one."""
        end = _end(node)
        while end < len(self._lines) and re.match(rf"\s{{{node.col_offset + 1},}}#", self._lines[end]):
            end += 1
        return tuple(self._lines[_begin(node) - 1 : end])


def _name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else None


def _begin(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _end(node: ast.stmt) -> int:
    return node.lineno if node.end_lineno is None else node.end_lineno


def _check_parameters(old: ast.stmt, new: ast.stmt, path: str) -> None:
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(old, functions) and isinstance(new, functions):
        before, now = ast.unparse(old.args), ast.unparse(new.args)
        if before != now:
            raise CourseError(f"{path} takes ({now}), and takes ({before}) in the file it is put into")


def _leaves(body: list[ast.stmt], path: str) -> list[tuple[str, ast.stmt]]:
    found: list[tuple[str, ast.stmt]] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            found += _leaves(node.body, f"{path}{node.name}.")
        elif (name := _name(node)) is not None:
            found.append((f"{path}{name}", node))
    return found
