"""The check of layers finds an import that points upwards, and a module that no line names."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from llm_contract.testing.layers import Layers

DRAWN = """A package.

top/          above
low, lower    below
"""


@pytest.fixture
def package(tmp_path: Path) -> ModuleType:
    (tmp_path / "__init__.py").touch()
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "__init__.py").write_text("from drawn.low import a\nimport drawn.top.part\n")
    (tmp_path / "low.py").write_text("from drawn.lower import b\n")
    (tmp_path / "lower.py").write_text("import json\n")
    module = ModuleType("drawn", DRAWN)
    module.__file__ = str(tmp_path / "__init__.py")
    return module


def test_imports_downwards_and_within_a_line_are_allowed(package: ModuleType) -> None:
    layers = Layers(package)
    assert layers.without_a_line() == set()
    assert layers.upward_imports() == []
    assert ("lower", "json") in [(own, name) for _, own, name in layers.imports()]


@pytest.mark.parametrize("line", ["from drawn.top import x", "import drawn.top.part", "    from drawn import top"])
def test_an_import_upwards_is_found_wherever_it_stands(package: ModuleType, line: str, tmp_path: Path) -> None:
    (tmp_path / "low.py").write_text(f"if True:\n    pass\n{line}\n" if line[0] != " " else f"def f():\n{line}\n")
    assert Layers(package).upward_imports() == [f"{tmp_path / 'low.py'}: top"]


def test_a_module_without_a_line_and_a_line_without_a_module_are_found(package: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "more.py").touch()
    (tmp_path / "lower.py").unlink()
    assert Layers(package).without_a_line() == {"more", "lower"}
