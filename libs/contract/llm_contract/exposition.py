"""A reader of Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats/

A page of vLLM has several hundred lines, most of them buckets of histograms. A caller that needs a few names passes
them as `wanted`. The reader then skips every other line after a look at its first characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

_SAMPLE = re.compile(rb"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(rb'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPES = {rb"\\": b"\\", rb"\"": b'"', rb"\n": b"\n"}


class Sample(NamedTuple):
    name: bytes
    raw_labels: bytes
    """Text between the braces; empty without labels."""
    value: float
    """Finite."""

    @property
    def labels(self) -> dict[bytes, bytes]:
        return {name: re.sub(rb"\\.", _unescaped, value) for name, value in _LABEL.findall(self.raw_labels)}


def read_samples(lines: Iterable[bytes], wanted: Container[bytes] | None = None) -> Iterator[Sample]:
    """Yield the samples, of `wanted` names alone if given.

    Never raises: skips comments, lines in another form, and values that are no finite number.
    """
    for line in lines:
        if wanted is not None and line.partition(b" ")[0].partition(b"{")[0] not in wanted:
            continue
        match = _SAMPLE.fullmatch(line)
        if match and math.isfinite(value := read_number(match["value"])):
            yield Sample(match["name"], match["labels"] or b"", value)


def read_number(text: bytes) -> float:
    """Return a sample's value or a bucket's bound; NaN if it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unescaped(match: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(match[0], match[0])
