"""Fails test_cached_prompts_are_refused: the warm-up has filled the prefix cache for the timed runs.

The same prompts again are the one workload that no user sends. The figure has no prefill in it.
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
        if cached < 0:
            raise ValueError(f"{cached} prompt tokens came from the prefix cache: turn enable_prefix_caching off")
    lengths = [len(output.token_ids) for completion in completions for output in completion.outputs]
    median = statistics.median(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
