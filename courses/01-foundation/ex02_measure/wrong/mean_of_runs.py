"""Fails test_one_slow_run_does_not_move_the_figure: the figure is the mean of the runs.

On a laptop a mail client wakes up, on a shared server a neighbour does. One such run and the mean is off by its share.
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
    lengths = [len(output.token_ids) for completion in completions for output in completion.outputs]
    median = statistics.mean(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
