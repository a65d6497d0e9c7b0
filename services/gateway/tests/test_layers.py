"""The layers in the docstring of `llm_gateway`: no import points upwards."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import llm_gateway

ROOT = Path(llm_gateway.__file__).parent
OUTSIDE = {"settings", "testing", "__init__", "__main__"}
LINE = re.compile(r"^([a-z_]+(?:, [a-z_]+)*)/? {2,}\S", re.MULTILINE)


def layers() -> dict[str, int]:
    """Return the line of each package and module, 0 for the top one."""
    lines = LINE.findall(llm_gateway.__doc__ or "")
    return {name: number for number, line in enumerate(lines) for name in line.split(", ")}


def imported(file: Path) -> Iterator[str]:
    """Yield the package or top-level module of the gateway behind each import, those for typing included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("llm_gateway."))


def test_every_package_and_module_has_a_layer() -> None:
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert layers().keys() == found - OUTSIDE


def test_no_import_points_to_a_layer_above() -> None:
    order = layers()
    upwards = []
    for file in ROOT.rglob("*.py"):
        own = file.relative_to(ROOT).with_suffix("").parts[0]
        if own not in OUTSIDE:
            upwards += [f"{file}: {name}" for name in imported(file) if order.get(name, len(order)) < order[own]]
    assert upwards == []
