"""Where things are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STATE = ROOT / ".lab"
LOGS = STATE / "logs"
STACK_FILE = STATE / "stack.json"
OUT = ROOT / "out"
LOCKS = ROOT / "3rdparty"
WHEELS = LOCKS / "wheels"
PYTHON = Path(sys.executable)
UV = STATE / "uv" / "bin" / "uv"
VLLM_VENV = ROOT / ".venv-vllm"
MODEL = ROOT / "models" / "main"
SCENARIO = ROOT / "bench" / "scenarios" / "mixed-priority.yaml"
