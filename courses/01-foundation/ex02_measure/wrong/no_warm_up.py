"""Fails test_the_warm_up_is_not_timed: the first run is timed with the others.

It compiles kernels, allocates memory and fills caches. With five repeats the median hides it, with two it halves the
figure.
"""


def measure(
    llm: Any,
    prompts: Sequence[Any],
    params: Any,
    *,
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    seconds = []
    for _ in range(repeats):
        begun = clock()
        completions = llm.generate(prompts, params, use_tqdm=False)
        seconds.append(clock() - begun)
        if any(completion.num_cached_tokens for completion in completions):
            raise ValueError("prompt tokens came from the prefix cache")
    lengths = [len(output.token_ids) for completion in completions for output in completion.outputs]
    median = statistics.median(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
