"""Where things are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COURSES = ROOT / "courses"
DOCS = ROOT / "docs"
MODELS = ROOT / "models"
LEARN = Path(os.environ.get("COURSE_LEARN", ROOT / "learn"))
"""The learner's own work: ignored by git, kept through upgrades."""
