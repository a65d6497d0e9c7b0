"""Fails test_an_answer_that_ends_early_counts_what_it_has: each sequence counts max_tokens.

A model that stops early then looks fast. Either count, or forbid the end with ignore_eos; do both to compare models.
"""


def measure(
    llm: Any,
    prompts: Sequence[Any],
    params: Any,
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    llm.generate(prompts, params, use_tqdm=False)
    seconds = []
    for _ in range(repeats):
        begun = clock()
        completions = llm.generate(prompts, params, use_tqdm=False)
        seconds.append(clock() - begun)
        cached = sum(completion.num_cached_tokens or 0 for completion in completions)
        if cached:
            raise ValueError(f"{cached} prompt tokens came from the prefix cache: turn enable_prefix_caching off")
    lengths = [params.max_tokens for completion in completions for output in completion.outputs]
    median = statistics.median(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
