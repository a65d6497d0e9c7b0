from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from llm_contract import metrics as names
from llm_proxy.upstream.signals import Signals, parse

LABELS = '{engine="0",model_name="a model, } named \\"x\\""}'

PAGE = f"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{LABELS} 3.0
vllm:num_requests_waiting{LABELS} 2.0
vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} 9.0
vllm:kv_cache_usage_perc{LABELS} 0.25
vllm:cache_config_info{{block_size="16",hash_block_size="None",num_gpu_blocks="100",num_gpu_blocks_override="7"}} 1.0
vllm:prompt_tokens_total{LABELS} 1.5e+03
vllm:prompt_tokens_created{LABELS} 1.7e+09
vllm:generation_tokens_total{LABELS} 700
vllm:prefix_cache_queries_total{LABELS} 64.0
vllm:prefix_cache_hits_total{LABELS} 32.0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.001"}} 0.0
vllm:time_to_first_token_seconds_count{LABELS} 4.0
vllm:time_to_first_token_seconds_sum{LABELS} 0.5
process_cpu_seconds_total 12.0
"""

PARSED = Signals(
    time=9.0,
    running=3,
    waiting=2,
    kv_usage=0.25,
    kv_tokens=1600,
    prompt_tokens=1500,
    generation_tokens=700,
    prefix_queries=64,
    prefix_hits=32,
    ttft_sum=0.5,
)


def test_vllms_page() -> None:
    assert parse(PAGE.encode(), 9.0) == PARSED


def test_several_engines_behind_one_url_add_up() -> None:
    twice = PAGE + PAGE.replace('engine="0"', 'engine="1"').replace("0.25", "0.75")
    found = parse(twice.encode(), 9.0)
    assert found is not None
    assert (found.running, found.kv_usage, found.kv_tokens, found.generation_tokens) == (6, 0.75, 3200, 1400)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b"", None),
        (b"python_info 1\n", None),
        (b"vllm:num_requests_waiting 3\n", None),
        (b"vllm:num_requests_running NaN\n", None),
        (b"vllm:num_requests_running 1 1700000000\n", Signals(time=0.0, running=1, waiting=0)),
        (
            b"vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.5\n",
            Signals(time=0.0, running=1, waiting=0, kv_usage=0.5),
        ),
        (
            b'vllm:num_requests_running 1\nvllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1\n',
            Signals(time=0.0, running=1, waiting=0),
        ),
    ],
)
def test_what_is_missing_or_odd(page: bytes, expected: Signals | None) -> None:
    assert parse(page, 0.0) == expected


def test_ttft_per_prompt_token_is_over_the_time_between_two_scrapes() -> None:
    later = Signals(time=10.0, running=0, waiting=0, prompt_tokens=1600, ttft_sum=1.5)
    assert later.ttft_per_prompt_token(PARSED) == pytest.approx(0.01)
    assert later.ttft_per_prompt_token(None) is None
    assert later.ttft_per_prompt_token(later) is None
    assert PARSED.ttft_per_prompt_token(later) is None, "the engine was restarted"


@given(st.floats(0, 1e12), st.text(max_size=40), st.integers(0, 10**6))
def test_a_page_that_prometheus_wrote_is_read_back(value: float, label: str, blocks: int) -> None:
    registry = CollectorRegistry()
    for metric, number in ((names.REQUESTS_RUNNING, value), (names.REQUESTS_WAITING, value)):
        Gauge(metric.name, "", metric.labels, registry=registry).labels(label, "0").set(number)
    info = names.CACHE_CONFIG_INFO
    Gauge(info.name, "", info.labels, registry=registry).labels(label, 16, blocks, True).set(1)
    assert parse(generate_latest(registry), 1.0) == Signals(
        time=1.0, running=value, waiting=value, kv_tokens=16 * blocks
    )


LINES = st.sampled_from(PAGE.encode().split(b"\n"))


@given(st.lists(st.tuples(LINES, st.integers(0, 200), st.binary(max_size=8)), max_size=20), st.binary(max_size=200))
def test_nothing_in_a_page_makes_it_raise(lines: list[tuple[bytes, int, bytes]], rest: bytes) -> None:
    page = b"\n".join(line[:cut] + junk + line[cut:] for line, cut, junk in lines) + b"\n" + rest
    found = parse(page, 0.0)
    assert found is None or found.running >= 0
