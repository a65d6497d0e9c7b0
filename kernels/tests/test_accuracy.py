"""The rule that decides whether a result is right."""

import torch

from llm_kernels.accuracy import compare

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
