"""Models and texts that several tests use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[3]
ZOO = ROOT / "models" / "zoo"


@pytest.fixture(scope="session")
def heldout() -> Path:
    return ROOT / "models" / "eval" / "heldout.txt"


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A trained model of 0.4 M parameters."""
    return ZOO / "llama"


def round_to_nearest(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the weights on a symmetric grid per output channel, in groups of 32 inputs."""
    groups = weight.float().reshape(weight.shape[0], -1, 32)
    scale = groups.abs().amax(dim=-1, keepdim=True).clamp(min=1e-8) / (2 ** (bits - 1) - 0.5)
    rounded = (groups / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
    return rounded.reshape(weight.shape).to(weight.dtype)


@pytest.fixture(scope="session")
def make_rounded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], Path]:
    """Return a maker of folders whose linear weights are rounded to nearest."""

    def make(folder: Path, bits: int) -> Path:
        out = tmp_path_factory.mktemp("rounded") / f"{folder.name}-rtn{bits}"
        shutil.copytree(folder, out)
        weights = load_file(folder / "model.safetensors")
        is_linear = {name: "_proj" in name and tensor.dim() == 2 for name, tensor in weights.items()}
        save_file(
            {name: round_to_nearest(one, bits) if is_linear[name] else one for name, one in weights.items()},
            out / "model.safetensors",
            metadata={"format": "pt"},
        )
        return out

    return make
