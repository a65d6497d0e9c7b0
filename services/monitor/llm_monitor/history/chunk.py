"""A chunk: some minutes of all series of one metric, as a compressed matrix.

Targets are scraped at the same times, so the series of a metric share one array of times, and a mask says which of them
a series has a sample at. Times are whole milliseconds.

Values are encoded as Gorilla's are (Pelkonen et al., VLDB 2015, section 4.1.2): each is XORed with its predecessor, so
that an unchanged value is 0. The bytes are then ordered by significance, and zlib removes the zeros.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from llm_monitor.series.selection import Floats

Mask = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int32]
Milliseconds = npt.NDArray[np.int64]

_HEADER = struct.Struct("<II")


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    ids: Ids
    """Shape (rows,): numbers of the series, each once."""
    times: Milliseconds
    """Shape (columns,), ascending."""
    values: Floats
    """Shape (rows, columns). NaN where the mask is set is a stale marker."""
    mask: Mask
    """Shape (rows, columns): whether the series has a sample."""

    def encode(self) -> bytes:
        values = _filled(self.values, self.mask).view(np.uint64).copy()
        values[:, 1:] ^= values[:, :-1].copy()
        times = self.times.copy()
        times[1:] -= self.times[:-1]
        parts = [
            _HEADER.pack(len(self.ids), len(self.times)),
            self.ids.astype("<i4").tobytes(),
            _by_significance(times.astype("<i8")),
            np.packbits(self.mask).tobytes(),
            _by_significance(values.T.astype("<u8")),  # the first values together: zeros are what follows
        ]
        return zlib.compress(b"".join(parts), 1)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        data = zlib.decompress(data)
        rows, columns = _HEADER.unpack_from(data)
        cells, at = rows * columns, _HEADER.size
        ids = np.frombuffer(data, "<i4", rows, at)
        at += ids.nbytes
        times = np.cumsum(_in_order(data[at : at + 8 * columns]).view(np.int64))
        at += 8 * columns
        packed = np.frombuffer(data, np.uint8, (cells + 7) // 8, at)
        mask = np.unpackbits(packed, count=cells).astype(np.bool_).reshape(rows, columns)
        at += len(packed)
        bits = np.bitwise_xor.accumulate(_in_order(data[at:]).reshape(columns, rows), axis=0)
        values = np.ascontiguousarray(bits.T).view(np.float64)
        return cls(ids, times, values, mask)

    def rows(self, chosen: Mask) -> Chunk:
        """Return the chosen rows, without the times at which none of them has a sample."""
        if chosen.all() and self.mask.any(axis=0).all():
            return self
        mask = self.mask[chosen]
        columns = mask.any(axis=0)
        return Chunk(self.ids[chosen], self.times[columns], self.values[np.ix_(chosen, columns)], mask[:, columns])


def merge(chunks: Sequence[Chunk]) -> Chunk:
    """Return one chunk with the series and times of all. Where two have a sample, the later one in the list counts."""
    if len(chunks) == 1:
        return chunks[0]
    if _is_sequence(chunks):
        return Chunk(
            chunks[0].ids,
            np.concatenate([chunk.times for chunk in chunks]),
            np.concatenate([chunk.values for chunk in chunks], axis=1),
            np.concatenate([chunk.mask for chunk in chunks], axis=1),
        )
    ids = np.unique(np.concatenate([chunk.ids for chunk in chunks]))
    times = np.unique(np.concatenate([chunk.times for chunk in chunks]))
    values = np.zeros((len(ids), len(times)))
    mask = np.zeros(values.shape, np.bool_)
    for chunk in chunks:
        cells = np.ix_(np.searchsorted(ids, chunk.ids), np.searchsorted(times, chunk.times))
        values[cells] = np.where(chunk.mask, chunk.values, values[cells])
        mask[cells] |= chunk.mask
    return Chunk(ids, times, values, mask)


def _is_sequence(chunks: Sequence[Chunk]) -> bool:
    """Return whether all have the same series, each at later times than the one before, which is the usual case."""
    return all(
        before.times[-1] < chunk.times[0] and np.array_equal(before.ids, chunk.ids)
        for before, chunk in pairwise(chunks)
    )


def _filled(values: Floats, mask: Mask) -> Floats:
    """Return the values, each cell without a sample having that of the sample before it."""
    if mask.all():
        return np.ascontiguousarray(values)
    last = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), 0), axis=1)
    return np.ascontiguousarray(np.take_along_axis(values, last, axis=1))


def _by_significance(numbers: npt.NDArray[np.generic]) -> bytes:
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8).T.tobytes()


def _in_order(data: bytes) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(8, -1).T).view("<u8").reshape(-1)
