"""n answers to one prompt: it is computed once, its blocks are shared, and the first write copies a block."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_engine import Engine, SamplingParams
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.request.outputs import RequestOutput
from llm_engine.scheduler.sequence import Sequence

MakeEngine = Callable[..., Engine]
BLOCK = 4


def finish(engine: Engine) -> dict[tuple[str, int], list[int]]:
    """(request, answer) -> tokens."""
    done: dict[tuple[str, int], list[int]] = {}
    while engine.has_work:
        for output in engine.step():
            done.setdefault((output.request_id, output.index), []).extend(output.token_ids)
    return done


def greedy(max_tokens: int, n: int = 1) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True, n=n)


def test_a_follower_shares_the_prompt_and_the_first_writer_copies() -> None:
    cache = KVCacheManager(10, BLOCK)
    leader = Sequence("r", list(range(6)), SamplingParams())
    assert cache.admit(leader)
    assert cache.grow(leader, 6)
    leader.num_computed_tokens = 6
    cache.commit(leader, 0, 6)
    follower = Sequence("r", list(range(6)), SamplingParams(), index=1, leader=leader)
    assert cache.admit(follower)
    assert follower.num_computed_tokens == 5  # the last prompt token is computed again, for its logits
    assert follower.block_table == leader.block_table
    shared = leader.block_table[1]

    leader.token_ids.append(9)
    assert cache.grow(leader, 1)
    assert leader.block_table[1] != shared
    assert cache.take_copies() == [BlockCopy(shared, leader.block_table[1])]
    assert cache.grow(follower, 1)
    assert follower.block_table[1] == shared  # no other sequence uses it any more
    assert cache.take_copies() == []


def test_a_copy_needs_a_block() -> None:
    cache = KVCacheManager(2, BLOCK)
    leader = Sequence("r", list(range(6)), SamplingParams())
    assert cache.admit(leader)
    assert cache.grow(leader, 6)
    leader.num_computed_tokens = 6
    cache.commit(leader, 0, 6)
    follower = Sequence("r", list(range(6)), SamplingParams(), index=1, leader=leader)
    assert not cache.admit(follower)
    assert [cache.pool.ref_counts[block] for block in leader.block_table] == [1, 1]


@pytest.mark.parametrize("prompt_length", [1, 15, 16, 17, 40])
def test_greedy_answers_equal_the_one_answer(make_engine: MakeEngine, prompt_length: int) -> None:
    prompt = [(7 * i) % 90 + 1 for i in range(prompt_length)]
    engine = make_engine()
    engine.add_request("one", prompt, greedy(40))
    expected = finish(engine)["one", 0]
    engine = make_engine()
    engine.add_request("many", prompt, greedy(40, n=3))
    assert finish(engine) == {("many", index): expected for index in range(3)}
    assert engine.scheduler.kv_cache.pool.num_available == engine.num_blocks


def test_a_prompt_is_computed_once(make_engine: MakeEngine) -> None:
    engine = make_engine(enable_prefix_caching=False)
    engine.add_request("a", [5] * 40, greedy(3, n=8))
    computed = []
    run = engine._runner.launch

    def counted(step):  # type: ignore[no-untyped-def]
        computed.append(step.total_tokens)
        return run(step)

    engine._runner.launch = counted  # type: ignore[method-assign]
    finish(engine)
    assert computed == [40, 8, 8, 7]  # the leader is one step ahead
    assert engine.scheduler.kv_cache.pool.num_available == engine.num_blocks


def test_seeded_answers_differ_and_repeat_in_any_batch(make_engine: MakeEngine) -> None:
    params = SamplingParams(temperature=1, seed=3, n=4, max_tokens=12)
    roomy = make_engine()
    roomy.add_request("a", [5, 6, 7], params)
    alone = finish(roomy)
    assert len({tuple(tokens) for tokens in alone.values()}) == 4
    crowded = make_engine(num_gpu_blocks_override=14, block_size=4, max_model_len=56, max_num_seqs=6)
    crowded.add_request("b", [9] * 25, greedy(20))
    crowded.add_request("a", [5, 6, 7], params)
    crowded.add_request("c", [8] * 20, SamplingParams(temperature=1, n=3, max_tokens=25))
    together = finish(crowded)
    assert crowded.num_preemptions > 0
    assert {key: tokens for key, tokens in together.items() if key[0] == "a"} == alone


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 6])
def test_an_abort_takes_all_answers(make_engine: MakeEngine, steps: int) -> None:
    engine = make_engine(max_num_seqs=2)
    engine.add_request("a", [5] * 20, SamplingParams(n=4, max_tokens=4, ignore_eos=True))
    for _ in range(steps):
        engine.step()
    engine.abort_request("a")
    assert not engine.has_work
    assert engine.scheduler.kv_cache.pool.num_available == engine.num_blocks


def test_logprobs_of_prompt_and_output(make_engine: MakeEngine, heldout: str) -> None:
    """Check that output tokens get the same log-probabilities as in a prompt, in any chunks."""
    engine = make_engine()
    prompt = engine.tokenizer.encode(heldout[:400])[:50]
    (first,) = run(engine, prompt, SamplingParams(temperature=0, max_tokens=9, logprobs=2, ignore_eos=True))
    assert first.logprobs is not None
    assert [next(iter(at)) for at in first.logprobs] == first.token_ids
    assert all(at[token].rank == 1 for at, token in zip(first.logprobs, first.token_ids, strict=True))
    chunked = make_engine(max_num_batched_tokens=13, max_num_seqs=4)
    whole = prompt + first.token_ids
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=2)
    for _ in range(2):  # the second time the prefix is cached, and not used
        (again,) = run(chunked, whole, params)
        assert again.num_cached_tokens == 0
        assert again.prompt_logprobs is not None
        assert again.prompt_logprobs[0] is None
        assert len(again.prompt_logprobs) == len(whole)
        for at, expected in zip(again.prompt_logprobs[50:], first.logprobs, strict=True):
            assert at is not None
            assert list(at) == list(expected)
            for token, value in expected.items():
                assert at[token].logprob == pytest.approx(value.logprob, abs=1e-4)


def test_every_answer_is_told_the_prompts_logprobs(make_engine: MakeEngine) -> None:
    outputs = run(make_engine(), [5, 6, 7], SamplingParams(n=3, max_tokens=4, prompt_logprobs=0, seed=1))
    assert sorted(output.index for output in outputs) == [0, 1, 2]
    assert outputs[0].prompt_logprobs is not None
    assert all(output.prompt_logprobs == outputs[0].prompt_logprobs for output in outputs)


def test_prompt_logprobs_survive_preemption(make_engine: MakeEngine) -> None:
    prompt = [(3 * i) % 80 + 1 for i in range(14)]
    params = SamplingParams(temperature=0, max_tokens=8, prompt_logprobs=1, ignore_eos=True)
    (alone,) = run(make_engine(), prompt, params)
    engine = make_engine(
        num_gpu_blocks_override=12, block_size=4, max_model_len=48, max_num_batched_tokens=11, max_num_seqs=3
    )
    for request_id in "xyz":
        engine.add_request(request_id, prompt, params, only_final=True)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert engine.num_preemptions > 0
    assert alone.prompt_logprobs is not None
    for output in outputs:
        assert output.prompt_logprobs is not None
        for at, expected in zip(output.prompt_logprobs[1:], alone.prompt_logprobs[1:], strict=True):
            assert at is not None
            assert expected is not None
            assert {t: v.logprob for t, v in at.items()} == pytest.approx(
                {t: v.logprob for t, v in expected.items()}, abs=1e-4
            )


def run(engine: Engine, prompt: list[int], params: SamplingParams) -> list[RequestOutput]:
    engine.add_request("r", prompt, params, only_final=True)
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    return outputs
