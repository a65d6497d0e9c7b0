"""Fails test_prompt_tokens_are_not_output: tokens per second count the prompts as well.

Prompt tokens are computed many at a time and cost far less. The figure then depends on the length of the prompts more
than on the model, and looks several times better.
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
    lengths = [
        len(completion.prompt_token_ids) + len(output.token_ids)
        for completion in completions
        for output in completion.outputs
    ]
    median = statistics.median(seconds)
    return Measurement(len(prompts), sum(lengths), max(lengths), median, (max(seconds) - min(seconds)) / median)
