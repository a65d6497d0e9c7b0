"""Which packages import Ray. The data plane and its tests run without it."""

from __future__ import annotations

import re
from pathlib import Path

import llm_router

ROOT = Path(llm_router.__file__).parent
RAY = re.compile(r"^\s*(import|from) ray\b", re.MULTILINE)


def test_only_the_control_plane_imports_ray() -> None:
    files = [file for file in ROOT.rglob("*.py") if RAY.search(file.read_text(encoding="utf-8"))]
    assert {file.relative_to(ROOT).parts[0] for file in files} <= {"control"}
