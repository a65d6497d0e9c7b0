"""llm-quantize on a model that is here, small enough to end in minutes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from llm_lab import paths
from llm_lab.errors import EXIT_INTERRUPTED, LabError
from llm_lab.models import Model

METHODS = "gptq,awq,w8a8,fp8"
SMALL = (
    *("--samples", "32", "--length", "256", "--items", "64"),
    *("--batches", "1,8", "--runs", "3", "--seconds", "3"),
)  # fmt: skip
"""Less text, fewer items and shorter runs than llm-quantize takes by itself; flags of the user's come after them."""


def quantize(model: Model, flags: Sequence[str] = ()) -> None:
    """Quantise a model by four methods, evaluate and measure each, and write the report to out/quantize."""
    out = paths.OUT / "quantize"
    command: tuple[str, ...] = (str(paths.PYTHON), "-m", "llm_quantize", "run", str(model.folder), "--methods", METHODS)
    command += ("--eval", "--bench", "--out", str(out), *SMALL, *flags)
    status = subprocess.run(command, cwd=paths.ROOT, check=False).returncode
    if status == EXIT_INTERRUPTED:  # Ctrl-C reaches it as well, and it can be the first to end
        raise KeyboardInterrupt
    if status:
        raise LabError(f"llm-quantize ended with status {status}; see above")
