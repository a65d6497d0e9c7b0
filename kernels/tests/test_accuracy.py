"""The rule that decides whether a result is right."""

import pytest
import torch

from llm_kernels import workloads
from llm_kernels.accuracy import compare, judge, judge_by_head
from llm_kernels.dispatch import Implementation

EXACT = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)


def test_twice_torchs_own_error_is_allowed():
    native = (EXACT * (1 + 2**-9)).float()
    assert compare((EXACT * (1 + 2**-8)).float(), EXACT, native).wrong is None
    assert compare((EXACT * (1 + 2**-7)).float(), EXACT, native).wrong is not None


def test_nan_shape_and_dtype_never_pass():
    native = EXACT.float()
    assert "NaN" in (compare(torch.tensor([1.0, float("nan"), 4.0]), EXACT, native).wrong or "")
    assert "shape" in (compare(native[:2], EXACT, native).wrong or "")
    assert "dtype" in (compare(native.half(), EXACT, native).wrong or "")


def test_infinities_must_agree():
    infinite = torch.tensor([float("inf"), 1.0], dtype=torch.float64)
    assert compare(infinite.float(), infinite, infinite.float()).wrong is None
    assert compare(torch.tensor([9.0, 1.0]), infinite, infinite.float()).wrong == "infinities differ"


def test_nan_is_right_where_the_exact_result_is_nan():
    exact = torch.tensor([float("nan"), 1.0], dtype=torch.float64)
    assert compare(exact.float(), exact, exact.float()).wrong is None
    assert compare(torch.tensor([0.0, 1.0]), exact, exact.float()).wrong == "infinities differ"


@pytest.mark.parametrize("op", ["flash_attention", "paged_attention"])
def test_attention_is_judged_by_head_as_it_is_at_once(op):
    workload = next(w for w in workloads.small() if w.op == op and len({*_heads(w.inputs(0))}) == 2)
    args = workload.inputs(seed=0)
    right = workload.definition().reference

    def wrong_in_one_head(*args):
        out = right(*args)
        out[..., -1, :] *= 1.01
        return out

    for run in (right, wrong_in_one_head):
        at_once, by_head = (j(workload, Implementation("own", run), args) for j in (judge, judge_by_head))
        assert (at_once.wrong is None) == (by_head.wrong is None) == (run is right)


def _heads(args):
    """Return the numbers of queries and of keys."""
    return args[0].shape[-2], args[1].shape[-2]
