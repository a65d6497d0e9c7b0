"""The layers in the docstring of `llm_router`: no import points upwards, and only the control plane imports Ray."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import llm_router

ROOT = Path(llm_router.__file__).parent
OUTSIDE = {"settings", "testing", "__init__", "__main__"}
LINE = re.compile(r"^([a-z_]+(?:, [a-z_]+)*)/? {2,}\S", re.MULTILINE)


def layers() -> dict[str, int]:
    """Return the line of each package and module, 0 for the top one."""
    lines = LINE.findall(llm_router.__doc__ or "")
    return {name: number for number, line in enumerate(lines) for name in line.split(", ")}


def imports(file: Path) -> Iterator[str]:
    """Yield the full name behind each import, those for typing included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_layer(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").parts[0]


def test_every_package_and_module_has_a_layer() -> None:
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert layers().keys() == found - OUTSIDE


def test_no_import_points_to_a_layer_above() -> None:
    order = layers()
    upwards = []
    for file in ROOT.rglob("*.py"):
        if (own := own_layer(file)) not in OUTSIDE:
            names = [name.split(".")[1] for name in imports(file) if name.startswith("llm_router.")]
            upwards += [f"{file}: {name}" for name in names if order.get(name, len(order)) < order[own]]
    assert upwards == []


def test_only_the_control_plane_imports_ray() -> None:
    users = {own_layer(file) for file in ROOT.rglob("*.py") for name in imports(file) if name.split(".")[0] == "ray"}
    assert users == {"control"}
