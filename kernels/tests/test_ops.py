"""Every implementation of every op against the exact result, on ragged shapes and edges."""

import pytest
import torch

from llm_kernels import accuracy, workloads
from llm_kernels.dispatch import REGISTRY, why_not

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WORKLOADS = workloads.small()


def runnable(workload, name):
    """The interpreter's bf16 is silently wrong, so bf16 runs its references and, on a GPU, its kernels."""
    if DEVICE == "cuda" or name == "reference":
        return True
    asks_for = [workload.dtype, *workload.inputs(0, "meta")] if workload.op == "scaled_gemm" else [workload.dtype]
    return name == "triton" and not any(x is torch.bfloat16 for x in asks_for)


CASES = [
    pytest.param(workload, implementation, id=f"{workload.name} {implementation.name}")
    for workload in WORKLOADS
    for implementation in workload.definition().implementations
    if runnable(workload, implementation.name)
]


@pytest.mark.parametrize(("workload", "implementation"), CASES)
def test_is_accurate(workload, implementation, monkeypatch):
    monkeypatch.setenv("LLM_KERNELS_IMPL", implementation.name)
    args = workload.inputs(seed=1, device=DEVICE)
    if (reason := why_not(implementation, args)) is not None:
        assert implementation.name == "cuda", reason  # those take some shapes only
        return
    verdict = accuracy.judge(workload, implementation, args)
    assert verdict.wrong is None


def test_every_op_has_workloads_and_a_triton_version():
    assert {w.op for w in WORKLOADS} == set(REGISTRY.ops) == {w.op for w in workloads.large()}
    assert all({"triton", "reference"} <= {i.name for i in op.implementations} for op in REGISTRY.ops.values())
