from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from llm_engine import Engine, SamplingParams
from llm_engine.errors import ContextLengthError, EngineError, RequestError
from llm_engine.scheduler.sequence import FinishReason
from llm_engine.settings import EngineConfig

MakeEngine = Callable[..., Engine]
GREEDY = SamplingParams(temperature=0, max_tokens=12)


def run(engine: Engine, requests: dict[str, tuple[list[int], SamplingParams]]) -> dict[str, tuple[list[int], str, str]]:
    """Request id -> (tokens, text, finish reason), all in one batch."""
    for request_id, (prompt, params) in requests.items():
        engine.add_request(request_id, prompt, params)
    results: dict[str, tuple[list[int], str, str]] = {request_id: ([], "", "") for request_id in requests}
    while engine.has_work:
        for output in engine.step():
            tokens, text, _ = results[output.request_id]
            reason = output.finish_reason.value if output.finish_reason else ""
            results[output.request_id] = (tokens + output.token_ids, text + output.text, reason)
    return results


def one(engine: Engine, prompt: list[int], params: SamplingParams) -> tuple[list[int], str, str]:
    return run(engine, {"r": (prompt, params)})["r"]


def available(engine: Engine) -> int:
    return engine.scheduler.kv_cache.pool.num_available


def test_a_request_ends_at_max_tokens(make_engine: MakeEngine) -> None:
    engine = make_engine()
    tokens, text, reason = one(engine, engine.tokenizer.encode("import os\n"), GREEDY)
    assert len(tokens) == 12
    assert reason == "length"
    assert text == engine.tokenizer.decode(tokens)
    assert available(engine) == engine.num_blocks


def test_a_request_ends_at_the_end_of_the_context(make_engine: MakeEngine) -> None:
    engine = make_engine(max_model_len=20)
    tokens, _, reason = one(engine, [5] * 15, SamplingParams(temperature=0, max_tokens=None, ignore_eos=True))
    assert (len(tokens), reason) == (5, "length")


def test_a_stop_token_ends_it_and_has_no_text(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = engine.tokenizer.encode("import os\n")
    tokens, _, _ = one(engine, prompt, GREEDY)
    stop = next(token for token in tokens[2:] if token not in tokens[:2])
    params = SamplingParams(temperature=0, max_tokens=12, stop_token_ids=(stop,))
    short, text, reason = one(engine, prompt, params)
    assert reason == "stop"
    assert short == tokens[: tokens.index(stop) + 1]
    assert text == engine.tokenizer.decode(short[:-1])


def test_the_end_of_text_token_ends_it_unless_ignored(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = engine.tokenizer.encode("import os\n")
    tokens, _, _ = one(engine, prompt, GREEDY)
    engine.tokenizer.eos_token_ids = (tokens[3],)
    end = tokens.index(tokens[3]) + 1
    assert one(engine, prompt, GREEDY)[0] == tokens[:end]
    assert one(engine, prompt, SamplingParams(temperature=0, max_tokens=12, ignore_eos=True))[0] == tokens


def test_a_stop_string_across_tokens_ends_it_and_is_cut(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = engine.tokenizer.encode("import os\n")
    _, text, _ = one(engine, prompt, GREEDY)
    middle = len(text) // 2
    stop = text[middle - 2 : middle + 3]
    _, cut, reason = one(engine, prompt, SamplingParams(temperature=0, max_tokens=12, stop=(stop,)))
    assert reason == "stop"
    assert cut == text[: text.index(stop)]


def test_no_stop_before_min_tokens(make_engine: MakeEngine) -> None:
    engine = make_engine()
    prompt = engine.tokenizer.encode("import os\n")
    _, text, _ = one(engine, prompt, GREEDY)
    params = SamplingParams(temperature=0, max_tokens=12, min_tokens=12, stop=(text[0],))
    assert len(one(engine, prompt, params)[0]) == 12


def test_only_final_gives_one_output(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.add_request("a", [5, 6, 7], GREEDY, only_final=True)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert [len(output.token_ids) for output in outputs] == [12]


def test_an_output_always_has_text_or_is_the_last(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.add_request("a", [5, 6, 7], SamplingParams(temperature=1.5, seed=1, max_tokens=60))
    while engine.has_work:
        for output in engine.step():
            assert output.text or output.finish_reason


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_an_aborted_request_frees_its_blocks_at_once(make_engine: MakeEngine, steps: int) -> None:
    engine = make_engine(max_num_batched_tokens=64)
    engine.add_request("a", [5] * 100, SamplingParams(max_tokens=100))
    for _ in range(steps):
        engine.step()
    engine.abort_request("a")
    engine.abort_request("a")
    engine.abort_request("never heard of")
    assert not engine.has_work
    assert available(engine) == engine.num_blocks


def test_outputs_do_not_depend_on_the_batch_the_cache_or_preemption(make_engine: MakeEngine, heldout: str) -> None:
    """Check that greedy and seeded requests write the same alone and in a batch that does not fit."""
    ids = make_engine().tokenizer.encode(heldout[:6000])
    rng = random.Random(3)
    requests: dict[str, tuple[list[int], SamplingParams]] = {}
    for index in range(14):
        start, size = rng.choice([0, 0, 300]), rng.randint(1, 90)
        params = SamplingParams(
            temperature=rng.choice([0, 0.9]),
            top_p=rng.choice([1, 0.9]),
            top_k=rng.choice([0, 20]),
            seed=index,
            max_tokens=rng.randint(1, 30),
        )
        requests[str(index)] = (ids[start : start + size], params)
    roomy = make_engine(enable_prefix_caching=False)
    alone = {key: one(roomy, *request) for key, request in requests.items()}
    crowded = make_engine(
        num_gpu_blocks_override=40, block_size=4, max_model_len=150, max_num_batched_tokens=32, max_num_seqs=10
    )
    for _ in range(2):  # the second time with a filled cache
        assert run(crowded, requests) == alone
    assert crowded.num_preemptions > 0
    assert available(crowded) == 40


def test_many_requests_with_random_aborts_leak_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(num_gpu_blocks_override=40, block_size=4, max_model_len=120, max_num_seqs=6)
    rng = random.Random(0)
    alive: set[str] = set()
    for index in range(150):
        request_id = str(index)
        prompt = [rng.randint(1, 9)] * rng.randint(1, 60)
        engine.add_request(request_id, prompt, SamplingParams(max_tokens=rng.randint(1, 20)), rng.randint(0, 2))
        alive.add(request_id)
        for output in engine.step():
            if output.finish_reason:
                alive.discard(output.request_id)
        if rng.random() < 0.4:
            victim = rng.choice(sorted(alive)) if alive else "none"
            engine.abort_request(victim)
            alive.discard(victim)
    while engine.has_work:
        engine.step()
    assert available(engine) == 40


def test_priority_is_served_first(make_engine: MakeEngine) -> None:
    engine = make_engine(scheduling_policy="priority", max_num_seqs=1)
    for request_id, priority in (("late", 5), ("soon", -1), ("mid", 0)):
        engine.add_request(request_id, [5], SamplingParams(max_tokens=1), priority)
    finished = []
    while engine.has_work:
        finished += [output.request_id for output in engine.step()]
    assert finished == ["soon", "mid", "late"]


def test_the_engine_seed_makes_unseeded_requests_repeatable(make_engine: MakeEngine) -> None:
    params = SamplingParams(temperature=1, max_tokens=20)
    first, second, other = (one(make_engine(seed=seed), [5, 6], params)[0] for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.parametrize(
    ("prompt", "params", "error", "message"),
    [
        ([], GREEDY, RequestError, "empty"),
        ([10**6], GREEDY, RequestError, "out of vocabulary"),
        ([-1], GREEDY, RequestError, "out of vocabulary"),
        ([5], SamplingParams(stop_token_ids=(10**6,)), RequestError, "stop_token_ids"),
        ([5] * 32, GREEDY, ContextLengthError, "context length is 32 tokens. However, your prompt contains 32 input"),
        ([5], SamplingParams(max_tokens=33), ContextLengthError, "33 output tokens were requested"),
    ],
)
def test_a_request_that_can_never_be_served_is_refused(
    make_engine: MakeEngine, prompt: list[int], params: SamplingParams, error: type[Exception], message: str
) -> None:
    engine = make_engine(max_model_len=32)
    with pytest.raises(error, match=message):
        engine.add_request("a", prompt, params)
    assert not engine.has_work


def test_two_requests_of_one_name_are_refused(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.add_request("a", [5], GREEDY)
    with pytest.raises(RequestError, match="already running"):
        engine.add_request("a", [5], GREEDY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_size": 0}, "block_size is 0"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
        ({"max_model_len": 0}, "max_model_len is 0"),
        ({"max_num_seqs": 9, "max_num_batched_tokens": 8}, "less than max_num_seqs"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        EngineConfig("model", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 1.1}, "min_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"stop": ("",)}, "stop"),
    ],
)
def test_sampling_parameters_out_of_range_are_refused_by_name(values: dict[str, float], param: str) -> None:
    with pytest.raises(RequestError) as error:
        SamplingParams(**values)  # type: ignore[arg-type]
    assert error.value.param == param


def test_a_finished_sequence_says_why(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.add_request("a", [5], SamplingParams(max_tokens=1))
    (output,) = engine.step()
    assert output.finish_reason is FinishReason.LENGTH
    assert (output.num_prompt_tokens, output.num_output_tokens) == (1, 1)
