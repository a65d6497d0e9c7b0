"""Samples are read from what the official client writes, and from anything else without an error."""

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llm_contract.exposition import Sample, read_samples

LABEL_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))


def read(page: bytes, wanted: set[bytes] | None = None) -> list[Sample]:
    return list(read_samples(page.split(b"\n"), wanted))


@given(value=st.floats(allow_nan=False, allow_infinity=False), label=LABEL_VALUES, other=LABEL_VALUES)
def test_what_the_official_client_writes_is_read(value: float, label: str, other: str) -> None:
    registry = CollectorRegistry()
    Gauge("vllm:running", "h", ["model_name", "le"], registry=registry).labels(label, other).set(value)
    Counter("tokens", "h", registry=registry).inc(7)

    found = {sample.name: sample for sample in read(generate_latest(registry))}

    assert found[b"vllm:running"].value == value
    assert found[b"vllm:running"].labels == {b"model_name": label.encode(), b"le": other.encode()}
    assert found[b"tokens_total"].value == 7
    assert found[b"tokens_total"].labels == {}


def test_buckets_have_their_bound_as_a_label() -> None:
    registry = CollectorRegistry()
    Histogram("wait_seconds", "h", buckets=(0.1, 1.0), registry=registry).observe(0.5)

    buckets = read(generate_latest(registry), {b"wait_seconds_bucket"})

    assert [(sample.labels[b"le"], sample.value) for sample in buckets] == [(b"0.1", 0), (b"1.0", 1), (b"+Inf", 1)]


@pytest.mark.parametrize(
    "line",
    [b"", b"# HELP a b", b"a", b"a NaN", b"a +Inf", b"a 1e999", b"a one", b"a{b 1", b"1a 1", b" a 1", b"a 1 2 3"],
)
def test_lines_that_are_no_finite_sample_are_skipped(line: bytes) -> None:
    assert read(line) == []


@pytest.mark.parametrize("line", [b"a 1", b"a{} 1.0", b'a{b="} 9"} 1e0', b"a 1 1700000000", b"a\t1  "])
def test_lines_that_are_samples(line: bytes) -> None:
    (sample,) = read(line)
    assert (sample.name, sample.value) == (b"a", 1.0)


@given(page=st.binary(), wanted=st.one_of(st.none(), st.sets(st.binary(max_size=3))))
def test_any_bytes_are_read_without_an_error(page: bytes, wanted: set[bytes] | None) -> None:
    for sample in read(page, wanted):
        assert isfinite(sample.value)
        assert isinstance(sample.labels, dict)
