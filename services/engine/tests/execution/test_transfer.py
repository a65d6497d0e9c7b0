"""Transfers as far as a CPU can test them: the memory layout of the arrays."""

from __future__ import annotations

import numpy as np
import pytest

from llm_engine.execution.transfer import aligned


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (16,), (3, 7)])
def test_an_array_is_whole_and_ends_aligned(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    flat = aligned(array)
    assert flat.dtype == dtype
    assert flat.nbytes % 16 == 0
    assert flat.nbytes - array.nbytes < 16
    assert np.array_equal(flat[: array.size].reshape(shape), array)
