"""A baseline: how many tokens a second a model writes at several batch sizes, measured so that others get it as well.

`llm` is a `llm_engine.LLM`, or vLLM's class of the same name. Both have `generate(prompts, params, use_tqdm=False)`: it
returns one completion per prompt with its `outputs`, and each output has its `token_ids`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of measuring one batch size."""

    batch: int
    """Prompts that are served together."""
    output_tokens: int
    """Tokens that one run writes, over all its sequences."""
    longest: int
    """Tokens of the longest output: the run has at least as many steps."""
    seconds: float
    """Median of the timed runs."""
    spread: float
    """Slowest less quickest run, as a share of the median."""

    @property
    def tokens_per_second(self) -> float:
        """The server's view: output tokens a second, over all sequences."""
        # region exercise: one division
        return self.output_tokens / self.seconds
        # endregion

    @property
    def milliseconds_per_token(self) -> float:
        """A user's view: the time from one token to the next. Sequences of a batch get theirs in the same step."""
        # region exercise: the run's time over its steps, not over its tokens
        return self.seconds / self.longest * 1e3
        # endregion


def measure(
    llm: Any,
    prompts: Sequence[Any],
    params: Any,
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Serve the prompts as one batch, once to warm up and `repeats` times against the clock.

    ValueError if a timed run found prompt tokens in the prefix cache (`num_cached_tokens` of a completion; None counts
    as 0): its prompts then cost less than a user's.
    """
    # region exercise: warm up; time each run; count the tokens that came out; take the median
    llm.generate(prompts, params, use_tqdm=False)
    seconds = []
    for _ in range(repeats):
        begun = clock()
        completions = llm.generate(prompts, params, use_tqdm=False)
        seconds.append(clock() - begun)
        cached = sum(completion.num_cached_tokens or 0 for completion in completions)
        if cached:
            raise ValueError(f"{cached} prompt tokens came from the prefix cache: turn enable_prefix_caching off")
    lengths = [len(output.token_ids) for completion in completions for output in completion.outputs]
    median = statistics.median(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
    # endregion


def speedups(measurements: Sequence[Measurement]) -> list[float]:
    """Return each batch's tokens per second over those of the smallest batch."""
    # region exercise: the smallest batch is not always the first
    base = min(measurements, key=lambda each: each.batch).tokens_per_second
    return [each.tokens_per_second / base for each in measurements]
    # endregion


def report(model: str, measurements: Sequence[Measurement]) -> str:
    """Return the baseline as CSV with a header; the deliverable of this module is made of such files."""
    lines = ["model,batch,output_tokens,seconds,tokens_per_second,milliseconds_per_token,speedup,spread"]
    for each, speedup in zip(measurements, speedups(measurements), strict=True):
        # region exercise: append one line; four significant digits (`:.4g`) for all that is not an integer
        rates = f"{each.seconds:.4g},{each.tokens_per_second:.4g},{each.milliseconds_per_token:.4g}"
        lines.append(f"{model},{each.batch},{each.output_tokens},{rates},{speedup:.4g},{each.spread:.4g}")
        # endregion
    return "\n".join(lines) + "\n"


def step_line(small: tuple[int, float], large: tuple[int, float]) -> tuple[float, float]:
    """Return (fixed, each) of `milliseconds = fixed + each · batch` through two points (batch, milliseconds)."""
    # region exercise: slope first
    each = (large[1] - small[1]) / (large[0] - small[0])
    return small[1] - each * small[0], each
    # endregion


def ceiling(each: float) -> float:
    """Return the tokens per second that no batch exceeds, if one more sequence adds `each` milliseconds to a step."""
    # region exercise: let the batch grow until the fixed part no longer counts
    return 1e3 / each
    # endregion
