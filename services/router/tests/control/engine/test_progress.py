"""A replica's health is its engine's progress."""

from __future__ import annotations

from llm_router.control.engine.progress import EngineLoad, Progress, read_load

PAGE = b"""# HELP vllm:num_requests_running Requests in the running batch.
vllm:num_requests_running{model_name="m",engine="0"} 3.0
vllm:num_requests_waiting{model_name="m",engine="0"} 2.0
vllm:kv_cache_usage_perc{model_name="m",engine="0"} 0.5
vllm:prompt_tokens_total{model_name="m",engine="0"} 100.0
vllm:generation_tokens_total{model_name="m",engine="0"} 40.0
vllm:request_success_total{model_name="m",engine="0",finished_reason="stop"} 2.0
vllm:request_success_total{model_name="m",engine="0",finished_reason="length"} 1.0
vllm:num_preemptions_total{model_name="m",engine="0"} 9.0
"""


def test_the_load_in_a_page_of_metrics() -> None:
    assert read_load(PAGE.splitlines()) == EngineLoad(running=3, waiting=2, kv_usage=0.5, work=143)


def test_an_idle_engine_is_healthy_however_long() -> None:
    progress = Progress(30, now=0)
    for now in range(0, 1000, 10):
        progress.observe(EngineLoad(), now)
        assert not progress.stalled(now)


def test_requests_without_a_token_fail_after_the_timeout() -> None:
    progress = Progress(30, now=0)
    progress.observe(EngineLoad(running=2, work=5), 10)
    progress.observe(EngineLoad(running=2, work=5), 40)
    assert not progress.stalled(40)
    assert progress.stalled(41) == "no token for 31.0 s, with 2 requests running when it last reported"


def test_a_token_is_progress() -> None:
    progress = Progress(30, now=0)
    for now in range(0, 200, 20):
        progress.observe(EngineLoad(running=1, work=now), now)
    assert not progress.stalled(200)


def test_a_silent_engine_fails_after_the_timeout() -> None:
    progress = Progress(30, now=0)
    progress.observe(EngineLoad(), 10)
    progress.observe(None, 35)
    assert not progress.stalled(40)
    assert progress.stalled(40.1)


def test_zero_turns_it_off() -> None:
    progress = Progress(0, now=0)
    assert not progress.stalled(1e9)
