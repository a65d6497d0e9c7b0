"""A model that takes the seconds it is given; then the shipped models; then a step that was recorded on a GPU."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from exercise import Measurement, ceiling, measure, report, speedups, step_line

from llm_course.paths import MODELS, ROOT
from llm_engine.request.outputs import Completion, CompletionOutput
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import FinishReason

PARAMS = SamplingParams(temperature=0, max_tokens=50)
PROMPTS = [[1] * 100, [2] * 100]


class Staged:
    """Takes 10 s for its first run and the given seconds for the next ones; time passes only in `generate`."""

    def __init__(self, *seconds: float, lengths: Sequence[int] = (20, 20), cached: Sequence[int] = (0, 0)) -> None:
        self.now = 0.0
        self.runs = 0
        self._seconds = (10.0, *seconds)
        self._lengths, self._cached = lengths, cached

    def generate(self, prompts: Sequence[Any], params: SamplingParams, use_tqdm: bool = True) -> list[Completion]:
        self.now += self._seconds[min(self.runs, len(self._seconds) - 1)]
        self.runs += 1
        return [
            Completion(None, prompt, [CompletionOutput(0, "", [7] * length, FinishReason.STOP, None)], cached)
            for prompt, length, cached in zip(prompts, self._lengths, self._cached, strict=True)
        ]

    def measured(self, repeats: int = 5) -> Measurement:
        return measure(self, PROMPTS, PARAMS, repeats=repeats, clock=lambda: self.now)


def test_the_warm_up_is_not_timed() -> None:
    """The first run takes 10 s, for it compiles and allocates; each later run takes 2 s, and 2 s is the figure."""
    staged = Staged(2.0)
    assert staged.measured().seconds == 2.0
    assert staged.runs == 6


def test_one_slow_run_does_not_move_the_figure() -> None:
    """Runs of 2, 2.1, 1.9, 30 and 2 s: another process had the machine once, and the figure is still 2 s."""
    assert staged_seconds(2.0, 2.1, 1.9, 30.0, 2.0) == 2.0


def test_one_quick_run_does_not_move_the_figure() -> None:
    """Runs of 2, 2.1, 1.9, 0.5 and 2 s: the lucky one is not the figure."""
    assert staged_seconds(2.0, 2.1, 1.9, 0.5, 2.0) == 2.0


def test_the_spread_shows_what_the_median_hides() -> None:
    """Runs of 2, 2, 2, 3 and 2 s have a spread of half the median."""
    assert Staged(2.0, 2.0, 2.0, 3.0, 2.0).measured().spread == 0.5


def test_prompt_tokens_are_not_output() -> None:
    """Two prompts of 100 tokens and two answers of 20: 40 tokens came out."""
    assert Staged(2.0).measured().output_tokens == 40


def test_an_answer_that_ends_early_counts_what_it_has() -> None:
    """One answer stops after 5 tokens, the other after 20, and max_tokens is 50: 25 tokens, the longest of 20."""
    found = Staged(2.0, lengths=(5, 20)).measured()
    assert (found.output_tokens, found.longest) == (25, 20)


def test_the_two_views_of_one_run() -> None:
    """Sixteen sequences of 50 tokens in 2 s: the server writes 400 tokens a second, each user waits 40 ms for one."""
    found = Measurement(batch=16, output_tokens=800, longest=50, seconds=2.0, spread=0.0)
    assert (found.tokens_per_second, found.milliseconds_per_token) == (400.0, 40.0)


def test_cached_prompts_are_refused() -> None:
    """The second run finds its prompts in the prefix cache: that is another measurement, and ValueError says so."""
    with pytest.raises(ValueError, match="cache"):
        Staged(2.0, cached=(0, 96)).measured()


def test_speedups_are_against_the_smallest_batch() -> None:
    """Batches of 4, 1 and 16, in the order in which they were measured."""
    found = [Measurement(batch, 20 * batch, 20, seconds, 0.0) for batch, seconds in ((4, 2.0), (1, 1.0), (16, 4.0))]
    assert speedups(found) == [2.0, 1.0, 4.0]


def test_the_report_can_be_read_by_a_program() -> None:
    """A CSV whose columns agree: tokens per second is tokens over seconds."""
    found = [Measurement(batch, 32 * batch, 32, 0.5 + 0.0625 * batch, 0.01) for batch in (1, 4, 16)]
    rows = list(csv.DictReader(io.StringIO(report("main", found))))
    assert [row["batch"] for row in rows] == ["1", "4", "16"]
    assert [row["model"] for row in rows] == ["main"] * 3
    for row in rows:
        rate = int(row["output_tokens"]) / float(row["seconds"])
        assert float(row["tokens_per_second"]) == pytest.approx(rate, rel=1e-3)
        assert float(row["milliseconds_per_token"]) == pytest.approx(1e3 * float(row["seconds"]) / 32, rel=1e-3)
    assert [float(row["speedup"]) for row in rows] == pytest.approx([1, 3, 6], rel=1e-3)


def test_a_step_has_a_fixed_part() -> None:
    """Steps of 12 ms at batch 4 and 18 ms at batch 16: 10 ms whatever the batch, and 0.5 ms for each sequence."""
    assert step_line((4, 12.0), (16, 18.0)) == (10.0, 0.5)
    assert ceiling(0.5) == 2000.0


def test_the_recorded_steps(record_property: Callable[[str, object], None]) -> None:
    """Llama-3-8B on an H200: the line through batches 1 and 256, whose ceiling the larger batch has not reached."""
    text = (ROOT / "services/engine/results/gpu_profile_h200.json").read_text(encoding="utf-8")
    shape = json.loads(text)["shapes"]["llama3-8b"]
    one, many = (shape[f"batch_{batch}"]["step_milliseconds"] for batch in (1, 256))
    fixed, each = step_line((1, one), (256, many))
    record_property("prediction", many)
    assert fixed + each == pytest.approx(one)
    assert fixed > 100 * each
    assert 0.5 < 256 / many * 1e3 / ceiling(each) < 1


@pytest.mark.parametrize("model", ["main", "zoo/qwen3"])
def test_the_shipped_models(model: str) -> None:
    """Batches of 1, 4 and 16 distinct prompts: eight tokens each, and the figures agree with one another."""
    llm = opened(model, enable_prefix_caching=False)
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    found = [measure(llm, distinct_prompts(batch), params, repeats=2) for batch in (1, 4, 16)]
    assert [each.batch for each in found] == [1, 4, 16]
    assert [each.output_tokens for each in found] == [8, 32, 128]
    for each in found:
        assert each.tokens_per_second * each.milliseconds_per_token == pytest.approx(each.batch * 1e3)


def test_the_engine_caches_prompts_by_default() -> None:
    """With the engine's defaults the timed runs skip 32 of the prompt's 40 tokens, and `measure` refuses."""
    llm = opened("zoo/qwen3")
    with pytest.raises(ValueError, match="cache"):
        measure(llm, distinct_prompts(1), SamplingParams(max_tokens=2, ignore_eos=True), repeats=1)


def staged_seconds(*seconds: float) -> float:
    return Staged(*seconds).measured().seconds


def distinct_prompts(count: int) -> list[list[int]]:
    return [[100 + index, *range(200, 239)] for index in range(count)]


def opened(model: str, **settings: Any) -> Any:
    from llm_engine import LLM

    return LLM(str(MODELS / model), num_gpu_blocks_override=128, max_model_len=64, max_num_seqs=16, **settings)
