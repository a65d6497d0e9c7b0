"""The layers of a package, as its docstring draws them from top to bottom: `names/    what they do`, a line a layer.

A module imports from its own line and from the lines below, never from above.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

OUTSIDE = {"settings", "testing", "__init__", "__main__"}
"""Modules without a layer: every module can read the settings, and what starts or tests the package reads it all."""
LINE = re.compile(r"^([a-z_]+(?:, [a-z_]+)*)/? {2,}\S", re.MULTILINE)


class Layers:
    """The layers of `package`, and the imports between them."""

    def __init__(self, package: ModuleType) -> None:
        assert package.__file__ is not None
        self._prefix = f"{package.__name__}."
        self._root = Path(package.__file__).parent
        lines = LINE.findall(package.__doc__ or "")
        self._order = {name: number for number, line in enumerate(lines) for name in line.split(", ")}

    def without_a_line(self) -> set[str]:
        """Return the packages and modules that have no layer, and the layers that stand for nothing."""
        there = {path.stem for path in self._root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        return self._order.keys() ^ (there - OUTSIDE)

    def imports(self) -> Iterator[tuple[Path, str, str]]:
        """Yield file, layer, and the full name behind each import, those for typing included."""
        for file in sorted(self._root.rglob("*.py")):
            own = file.relative_to(self._root).with_suffix("").parts[0]
            yield from ((file, own, name) for name in _imported(file))

    def upward_imports(self) -> list[str]:
        """Return `file: name` of each import that points to a layer above."""
        found = []
        for file, own, name in self.imports():
            if own not in OUTSIDE and name.startswith(self._prefix):
                target = name.removeprefix(self._prefix).split(".")[0]
                if self._order.get(target, len(self._order)) < self._order[own]:
                    found.append(f"{file}: {target}")
        return found


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
