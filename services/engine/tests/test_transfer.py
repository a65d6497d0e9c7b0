"""What is known of transfers without a GPU: how arrays are laid out in one."""

from __future__ import annotations

import numpy as np
import pytest

from llm_engine.transfer import ALIGNMENT, aligned


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_])
def test_each_array_begins_aligned_and_is_whole(dtype: type[np.generic]) -> None:
    arrays = [np.arange(size).astype(dtype) for size in (3, 1, 16, 0, 5)] + [np.ones((3, 7), dtype)]
    flat, starts = aligned(arrays)
    assert all(start * flat.itemsize % ALIGNMENT == 0 for start in starts)
    for start, array in zip(starts, arrays, strict=False):
        assert np.array_equal(flat[start : start + array.size].reshape(array.shape), array)
