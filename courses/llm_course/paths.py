"""Where things are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COURSES = ROOT / "courses"
DOCS = ROOT / "docs"
LEARN = ROOT / "learn"
"""The learner's own work: ignored by git, kept through upgrades."""
