from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llm_bench.measure.histograms import histogram_delta, parse_exposition, quantile_bucket

INF = float("inf")


def test_what_the_official_client_writes_is_read() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("vllm:num_requests_running", "h", ["model_name", "engine"], registry=registry)
    gauge.labels('a "quoted", {odd} le="9" name', "0").set(3)
    gauge.labels("b", "1").set(4.5)
    Counter("tokens", "h", registry=registry).inc(7)
    histogram = Histogram("wait_seconds", "h", ["engine"], buckets=(0.1, 1.0), registry=registry)
    for engine, value in (("0", 0.05), ("0", 0.5), ("1", 0.5), ("1", 9.0)):
        histogram.labels(engine).observe(value)

    read = parse_exposition(generate_latest(registry).split(b"\n"))

    assert read.values["vllm:num_requests_running"] == 7.5
    assert read.values["tokens_total"] == 7
    assert read.values["wait_seconds_count"] == 4
    assert read.buckets == {"wait_seconds": {0.1: 1.0, 1.0: 3.0, INF: 4.0}}


NUMBERS = st.sampled_from([b"1", b"-1", b"NaN", b"+Inf", b"-Inf", b"1e308", b"1e999", b"abc", b""])


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6))
def test_every_value_that_is_kept_is_a_number_of_json(samples: list[tuple[bytes, bytes]]) -> None:
    lines = [line for value, bound in samples for line in (b"a " + value, b'b_bucket{le="' + bound + b'"} ' + value)]

    read = parse_exposition(lines)

    numbers = [*read.values.values(), *(count for counts in read.buckets.values() for count in counts.values())]
    assert all(map(isfinite, numbers))
    assert all(bound >= 0 for counts in read.buckets.values() for bound in counts)


@given(page=st.binary())
def test_any_bytes_are_read_without_an_error(page: bytes) -> None:
    parse_exposition(page.split(b"\n"))


@pytest.mark.parametrize(
    ("quantile", "bucket"),
    [(0.0, (0.0, 0.1)), (0.25, (0.0, 0.1)), (0.26, (0.1, 1.0)), (0.75, (0.1, 1.0)), (0.99, (1.0, INF))],
)
def test_a_quantile_is_in_the_bucket_of_its_observation(quantile: float, bucket: tuple[float, float]) -> None:
    delta = histogram_delta({0.1: 5, 1.0: 5, INF: 5}, {0.1: 6, 1.0: 8, INF: 9})

    assert delta == [(0.1, 1), (1.0, 2), (INF, 1)]
    assert quantile_bucket(delta, quantile) == bucket


def test_nothing_observed_has_no_quantile() -> None:
    assert quantile_bucket(histogram_delta({}, {0.1: 0.0}), 0.5) is None
    assert quantile_bucket([], 0.5) is None
