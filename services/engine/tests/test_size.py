"""No file of the engine grows too long to read, and `tools/loc` counts rightly."""

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


def test_no_file_has_outgrown_its_limit(loc: Path) -> None:
    result = subprocess.run([sys.executable, str(loc)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "  core" in result.stdout
