"""Buckets and quantiles; an observer that is called by hand; then the engine's own calls and a scrape."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from exercise import StepMetrics, buckets, kind_of, quantile
from prometheus_client.parser import text_string_to_metric_families

from llm_contract.metrics import TTFT_BUCKETS
from llm_course.paths import MODELS
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.scheduler import Preemption, Scheduler, Step
from llm_engine.scheduler.sequence import FinishReason, Sequence

SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0)


def cumulative(bounds: tuple[float, ...], observations: list[float]) -> list[int]:
    """Return the counts of a histogram with these bounds."""
    return [*(sum(each <= bound for each in observations) for bound in bounds), len(observations)]


# Quantiles and buckets


def test_a_quantile_inside_a_bucket() -> None:
    """Ten observations up to 1 s and ten from there to 3 s: the median is 1 s, and P75 is 2 s."""
    assert [quantile((1.0, 3.0), (10, 20, 20), q) for q in (0.25, 0.5, 0.75)] == [0.5, 1.0, 2.0]


def test_a_quantile_beyond_the_last_bound() -> None:
    """Half of the observations are over the last bound: P99 is that bound, as in PromQL, and not infinity."""
    assert quantile((1.0, 3.0), (10, 10, 20), 0.99) == 3.0
    assert math.isnan(quantile((1.0, 3.0), (0, 0, 0), 0.5))


def test_a_quantile_is_as_good_as_its_buckets(record_property: Callable[[str, object], None]) -> None:
    """All requests take 180 ms. With vLLM's buckets the dashboard shows a P99 of 249 ms, with buckets of yours 180."""
    shown = quantile(TTFT_BUCKETS, cumulative(TTFT_BUCKETS, [0.18] * 100), 0.99)
    record_property("prediction", round(1000 * shown))
    assert round(shown, 4) == 0.2485
    mine = buckets([0.18, 0.2], low=0.001, high=60, error=0.2)
    assert abs(quantile(mine, cumulative(mine, [0.18] * 100), 0.99) / 0.18 - 1) <= 0.2


def test_a_target_is_a_bound() -> None:
    """The share of requests within 200 ms can be read off only if 0.2 is a bound, to the last digit."""
    bounds = buckets([0.2, 1.5], low=0.01, high=30, error=0.5)
    assert {0.01, 0.2, 1.5, 30} <= set(bounds)
    assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize("error", [0.1, 0.5, 1.0])
def test_quantiles_within_the_error(error: float) -> None:
    """P50, P90 and P99 of 500 random latencies are wrong by no more than the factor that was asked for."""
    random = Random(4)
    observations = sorted(math.exp(random.uniform(math.log(0.011), math.log(29))) for _ in range(500))
    bounds = buckets([0.2], low=0.01, high=30, error=error)
    for q in (0.5, 0.9, 0.99):
        true = observations[math.ceil(q * 500) - 1]
        ratio = quantile(bounds, cumulative(bounds, observations), q) / true
        assert (
            1 / (1 + error) <= ratio <= 1 + error
        ), f"{len(bounds)} bounds; P{100 * q:.0f} is {ratio:.2f} times the true one"


def test_no_more_buckets_than_needed() -> None:
    """Each bucket is a series for each label, stored for good: doubling from 10 ms to 640 ms takes 7 bounds."""
    assert [round(each, 6) for each in buckets([], low=0.01, high=0.64, error=1.0)] == [
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64,
    ]  # fmt: skip
    assert len(buckets([0.05, 0.3], low=0.01, high=0.64, error=1.0)) <= 9


# The observer, by hand


class World:
    """Metrics of an engine that does not compute; the test says what happens and when."""

    def __init__(self, num_blocks: int = 8) -> None:
        self.scheduler = Scheduler(KVCacheManager(num_blocks, 4), 8, 64)
        self.metrics = StepMetrics(SECONDS)
        observed: Any = SimpleNamespace(
            scheduler=self.scheduler, kv_cache=self.scheduler.kv_cache, num_blocks=num_blocks, max_model_len=64
        )
        self.metrics.watch(observed)

    def run(self, step: Step, begin: float = 0.0, end: float = 1.0) -> None:
        self.metrics.launched(step, begin)
        self.metrics.computed(step, [], end)

    def value(self, name: str, **labels: str) -> float:
        """Return a sample as a scrape shows it; 0 if it is not there."""
        return scrape(self.metrics).get((name, tuple(sorted(labels.items()))), 0.0)


def scrape(metrics: StepMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def sequence(name: str = "a", prompt: int = 4, **fields: Any) -> Sequence:
    return Sequence(name, list(range(prompt)), SamplingParams(), **fields)


def step_of(*parts: tuple[Sequence, int], admitted: tuple[Sequence, ...] = ()) -> Step:
    """Return a step that computes the given number of tokens of each sequence, after those it has computed."""
    step = Step(64)
    for each, num_tokens in parts:
        step.take(each, num_tokens)
    step.admitted += admitted
    return step


def test_the_kind_of_a_step() -> None:
    """A prompt alone is prefill, a sampled token alone is decode, both are mixed; a prompt's last token is prefill."""
    prompt, last, decoding = sequence(prompt=8), sequence(prompt=4), sequence(prompt=4)
    last.num_computed_tokens, decoding.num_computed_tokens = 3, 4
    decoding.token_ids.append(9)
    parts = {"prefill": [(prompt, 8)], "decode": [(decoding, 1)], "mixed": [(prompt, 8), (decoding, 1)]}
    assert {kind: kind_of(step_of(*each)) for kind, each in parts.items()} == {kind: kind for kind in parts}
    assert kind_of(step_of((last, 1))) == "prefill"


def test_a_victim_of_the_step_is_not_in_it() -> None:
    """A sequence got tokens and lost them in the same step: it says nothing about the step's kind or size."""
    world, decoding, victim = World(), sequence("a"), sequence("b", prompt=8)
    decoding.num_computed_tokens = 4
    step = step_of((decoding, 1), (victim, 8))
    step.give_back(victim)
    step.preempted.append(Preemption(victim, decoding, 0))
    world.run(step)
    assert world.value("course_step_seconds_count", kind="decode") == 1
    assert world.value("course_step_sequences_sum") == 1


def test_steps_that_overlap() -> None:
    """Step 2 is launched before step 1 is read. They take 3 and 1.5 seconds, not 1 and 1.5."""
    world = World()
    first, second = step_of((sequence("a"), 4)), step_of((sequence("b"), 4))
    world.metrics.launched(first, 10.0)
    world.metrics.launched(second, 12.0)
    world.metrics.computed(first, [], 13.0)
    world.metrics.computed(second, [], 13.5)
    assert world.value("course_step_seconds_count", kind="prefill") == 2
    assert world.value("course_step_seconds_sum", kind="prefill") == 4.5


def test_a_step_that_only_preempts() -> None:
    """A step without tokens has preempted a sequence. It counts as a preemption, not as a step of size 0."""
    world, victim = World(), sequence("b", prompt=12)
    step = Step(64, preempted=[Preemption(victim, victim, 11)])
    world.run(step)
    assert world.value("course_preemptions_total") == 1
    assert world.value("course_lost_tokens_total") == 11
    assert world.value("course_step_sequences_count") == 0


def test_queue_time_is_measured_once() -> None:
    """A sequence arrives at 5 s and is admitted at 7 s. It is preempted and admitted again: 2 s, once."""
    world, each = World(), sequence(arrival_time=5.0)
    world.run(step_of((each, 4), admitted=(each,)), 7.0, 8.0)
    each.num_preemptions = 1
    world.run(step_of((each, 4), admitted=(each,)), 20.0, 21.0)
    assert world.value("course_queue_seconds_count") == 1
    assert world.value("course_queue_seconds_sum") == 2


def test_gauges_show_the_moment_of_the_scrape() -> None:
    """Two of eight blocks are owned and one sequence waits; then both go, and no step comes that could say so."""
    world, running, waiting = World(), sequence("a", prompt=8), sequence("b")
    world.scheduler.add(running)
    world.run(world.scheduler.schedule())
    world.scheduler.add(waiting)
    assert (world.value("course_kv_usage"), world.value("course_waiting")) == (0.25, 1)
    for each in (running, waiting):
        world.scheduler.finish(each, FinishReason.ABORT)
        world.metrics.finished(each)
    assert (world.value("course_kv_usage"), world.value("course_waiting")) == (0, 0)
    assert world.value("course_requests_total", reason="abort") == 2


def test_a_thousand_requests_make_no_new_series() -> None:
    """The page of 1,000 requests has the series that the page of 10 had: no label names a request."""
    world, sizes = World(), []
    for number in range(1000):
        each = sequence(f"request-{number}", arrival_time=float(number))
        world.run(step_of((each, 4), admitted=(each,)), number + 1.0, number + 2.0)
        each.finish_reason = FinishReason.LENGTH
        world.metrics.finished(each)
        sizes.append(len(scrape(world.metrics)) if number in (9, 999) else 0)
    assert sizes[999] == sizes[9] > 0
    assert world.value("course_requests_total", reason="length") == 1000


# The engine


@pytest.mark.parametrize("overlap", [False, True])
def test_the_engine_and_a_scrape(overlap: bool) -> None:
    """Six requests under memory pressure: the scrapes agree with the engine, and no counter ever falls."""
    from llm_engine import Engine, EngineConfig

    metrics = StepMetrics(buckets([0.2], low=0.0001, high=30, error=1.0))
    config = EngineConfig(
        str(MODELS / "zoo" / "llama"), max_num_seqs=3, max_num_batched_tokens=8, num_gpu_blocks_override=16,
        block_size=4, max_model_len=48, attention_backend="torch", async_scheduling=overlap,
    )  # fmt: skip
    engine = Engine(config, [metrics])
    for number in range(6):
        params = SamplingParams(max_tokens=14, ignore_eos=True)
        engine.add_request(str(number), [3 + number, *range(5, 15)], params)
    engine.add_request("late", [3, 4, 5], SamplingParams(max_tokens=2))
    engine.abort_request("late")
    before: dict[Any, float] = {}
    while engine.has_work:
        engine.step()
        now = scrape(metrics)
        counters = {key: value for key, value in before.items() if key[0].endswith(("_total", "_count", "_bucket"))}
        assert all(now[key] >= value for key, value in counters.items())
        before = now
    assert before["course_preemptions_total", ()] == engine.num_preemptions > 0
    assert before["course_queue_seconds_count", ()] == 6
    assert before["course_requests_total", (("reason", "length"),)] == 6
    assert before["course_requests_total", (("reason", "abort"),)] == 1
    steps = sum(value for key, value in before.items() if key[0] == "course_step_seconds_count")
    assert steps == before["course_step_sequences_count", ()] > 0
    assert before["course_kv_usage", ()] == 0
