"""Notice calibration data that cannot calibrate anything: one token throughout, copies, NaN.

A method that is fed such data ends without an error and leaves a ruined model, so it is refused or said here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_quantize.errors import CalibrationError

FEW_DISTINCT = 0.02
"""Share of distinct tokens under which a sequence says too little."""


def check_tokens(tokens: Tensor) -> list[str]:
    """Return warnings about sequences [samples, length]. CalibrationError if all are one token."""
    if len(torch.unique(tokens[:, 1:])) == 1:
        raise CalibrationError("the calibration text is one token, repeated; give text like the model's own")
    warnings = []
    distinct = [len(torch.unique(row)) / len(row) for row in tokens]
    if poor := sum(share < FEW_DISTINCT for share in distinct):
        warnings.append(f"{poor} of {len(tokens)} sequences repeat a few tokens over and over")
    if copies := len(tokens) - len(torch.unique(tokens, dim=0)):
        warnings.append(f"{copies} of {len(tokens)} sequences are copies of others")
    return warnings


def check_hidden(hidden: Tensor, where: str) -> None:
    """Raise CalibrationError if hidden states [..., hidden] are not finite or all alike."""
    if not bool(hidden.isfinite().all()):
        raise CalibrationError(
            f"{where} gave NaN or infinity on the calibration text; the checkpoint is damaged, or needs float32"
        )
    rows = hidden.reshape(-1, hidden.shape[-1])
    if len(rows) > 1 and bool((rows == rows[0]).all()):
        raise CalibrationError(f"{where} gave the same values for every token, which calibrates nothing")


def check_count(count: int, inputs: int, where: str) -> list[str]:
    """Return a warning if fewer tokens than inputs were seen, so that a Hessian has not full rank."""
    if count >= inputs:
        return []
    return [f"{where}: {count} calibration tokens for {inputs} inputs; damping fills the rest, more text is better"]
