"""Where things are."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
STATE = ROOT / ".lab" / "deploy"
"""Generated files that a later command reads; git ignores them."""
OUT = ROOT / "out"
