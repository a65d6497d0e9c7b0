from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from llm_monitor.history.chunk import Chunk, merge


@st.composite
def chunk(draw: st.DrawFn) -> Chunk:
    ids = draw(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True))
    times = draw(st.lists(st.integers(0, 40), min_size=1, max_size=10, unique=True))
    shape = (len(ids), len(times))
    values = draw(stnp.arrays(np.float64, shape, elements=st.floats() | st.sampled_from([0.0, 1.0, 2.0])))
    mask = draw(stnp.arrays(np.bool_, shape))
    return Chunk(np.array(ids, np.int32), np.array(sorted(times), np.int64), values, mask)


def cells(chunk: Chunk) -> dict[tuple[int, int], str]:
    return {
        (number, at): repr(chunk.values[row, column])
        for row, number in enumerate(chunk.ids.tolist())
        for column, at in enumerate(chunk.times.tolist())
        if chunk.mask[row, column]
    }


@given(chunk())
def test_decoding_returns_what_was_encoded(original: Chunk) -> None:
    decoded = Chunk.decode(original.encode())
    assert decoded.ids.tolist() == original.ids.tolist()
    assert decoded.times.tolist() == original.times.tolist()
    assert cells(decoded) == cells(original)


@given(st.lists(chunk(), min_size=1, max_size=4))
def test_a_merged_chunk_has_the_samples_of_all(chunks: list[Chunk]) -> None:
    expected: dict[tuple[int, int], str] = {}
    for one in chunks:
        expected |= cells(one)
    assert cells(merge(chunks)) == expected


@given(chunk(), st.data())
def test_chosen_rows_keep_their_samples(original: Chunk, data: st.DataObject) -> None:
    chosen = data.draw(stnp.arrays(np.bool_, len(original.ids)))
    kept = set(original.ids[chosen].tolist())
    assert cells(original.rows(chosen)) == {cell: value for cell, value in cells(original).items() if cell[0] in kept}


def test_unchanged_values_cost_next_to_nothing() -> None:
    times = np.arange(0, 60_000, 1000, dtype=np.int64) + 1_700_000_000_000
    values = np.repeat(np.random.default_rng(0).random((300, 1)), 60, axis=1)
    size = len(Chunk(np.arange(300, dtype=np.int32), times, values, np.ones(values.shape, np.bool_)).encode())
    assert size < 300 * (8 + 4) + 300, "little more than one value and one number for each series"
