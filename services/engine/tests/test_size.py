"""Tests of `tools/loc`: it counts lines of code, in every package of the engine."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = '''
"""A module
of two lines."""

import os  # a comment


class Thing:
    """What it is."""

    field: int = 1
    """Of two
    lines."""

    def method(self) -> str:
        # nothing
        return """text
        that counts"""
'''


@pytest.fixture
def loc(models: Path) -> Path:
    return models.parent / "tools" / "loc"


def test_blanks_comments_and_docstrings_do_not_count(loc: Path) -> None:
    assert runpy.run_path(str(loc))["code_lines"](SOURCE) == 6


def test_every_package_is_counted(loc: Path) -> None:
    result = subprocess.run([sys.executable, str(loc), "--files"], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    by_file = sum(int(count.replace(",", "")) for count, name in lines if name.endswith(".py"))
    by_package = sum(
        int(count.replace(",", "")) for count, name in lines if not name.endswith(".py") and name != "core"
    )
    assert by_file == by_package > 0
