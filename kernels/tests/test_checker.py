"""The checker passes right kernels and rejects each wrong one for its own reason."""

from pathlib import Path

import pytest
import torch

from llm_kernels.checker import check_file, check_kernel
from llm_kernels.dispatch import get
from llm_kernels.errors import UnsupportedInput
from llm_kernels.ladders.base import load_module

WRONG = sorted(Path(__file__).parent.glob("wrong/*.py"))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("path", WRONG, ids=lambda p: p.stem)
def test_rejects_a_wrong_kernel_for_its_own_reason(path):
    findings = check_file(path, DEVICE, seed=3)
    assert load_module(path).FAILS in {finding.check for finding in findings}


@pytest.mark.parametrize("op", ["rms_norm", "softmax", "silu_and_mul", "quantize_per_token", "rope"])
@pytest.mark.parametrize("implementation", ["triton", "reference"])
def test_passes_right_kernels(op, implementation):
    assert check_kernel(op, get(op)[implementation].run, DEVICE, seed=5) == []


def test_there_are_wrong_kernels_for_every_property():
    assert {load_module(path).FAILS for path in WRONG} == {
        "accurate", "pure", "fresh", "current", "repeatable", "strided", "extreme"
    }  # fmt: skip


def test_says_what_a_file_lacks(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(UnsupportedInput, match="defines no OP and run"):
        check_file(path, "cpu", seed=0)
