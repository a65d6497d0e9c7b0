from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A trained model of 0.4 M parameters."""
    return Path(__file__).resolve().parents[3] / "models" / "zoo" / "llama"
