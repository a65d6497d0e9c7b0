"""The policy by itself: choices and memory. Then its hit rates on four workloads, and then the engine with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from random import Random

import pytest
from exercise import Eviction

from llm_course.paths import MODELS
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.policies import Policies, evict_least_recently_used
from llm_engine.scheduler.sequence import Sequence

BLOCK_SIZE, NUM_BLOCKS = 4, 128
Prompts = list[list[int]]


def policy_with(*keys: bytes) -> Eviction:
    """Return a policy for a pool in which block 0, 1, … holds the content of these keys."""
    policy = Eviction(max(8, len(keys)))
    for block, key in enumerate(keys):
        policy.known(block, key)
    return policy


def blocks(*numbers: int) -> OrderedDict[int, None]:
    return OrderedDict.fromkeys(numbers)


def evict(policy: Eviction, cached: OrderedDict[int, None], *lost: int) -> int:
    """Let the policy choose, and do what the pool does then."""
    block = policy(cached)
    del cached[block]
    policy.evicted(block, list(lost))
    return block


# What it returns


def test_only_a_cached_block_is_chosen() -> None:
    """Blocks 0 and 1 are owned: the policy chooses 2 or 3, and leaves the pool's list as it is."""
    policy, cached = policy_with(b"a", b"b", b"c", b"d"), blocks(3, 2)
    assert policy(cached) == 3
    assert list(cached) == [3, 2]


def test_a_reused_block_stays_before_one_that_was_not() -> None:
    """Block 0 is the longest unused, and it was found again: blocks 1 and 2 go first."""
    policy, cached = policy_with(b"a", b"b", b"c"), blocks(0, 1, 2)
    policy.reused([0])
    assert [evict(policy, cached) for _ in range(3)] == [1, 2, 0]


def test_a_tie_goes_by_last_use() -> None:
    """All were reused: the longest unused one goes."""
    policy = policy_with(b"a", b"b", b"c")
    policy.reused([0, 1, 2])
    assert policy(blocks(1, 2, 0)) == 1


def test_the_next_content_earns_nothing() -> None:
    """Block 0 was reused and evicted. What is written to it then has not been reused by anybody."""
    policy, cached = policy_with(b"a"), blocks(0)
    policy.reused([0])
    evict(policy, cached)
    policy.known(0, b"new")
    policy.known(1, b"other")
    policy.reused([1])
    assert policy(blocks(1, 0)) == 0


def test_what_is_lost_is_forgotten() -> None:
    """In a radix tree block 1 went with block 0, its parent. Its next content has not been reused either."""
    policy = policy_with(b"a", b"ab")
    policy.reused([0, 1])
    evict(policy, blocks(0, 1), 1)
    policy.known(1, b"new")
    policy.known(2, b"other")
    policy.reused([2])
    assert policy(blocks(2, 1)) == 1


def test_its_memory_is_bounded() -> None:
    """After 5,000 evictions of ever new content, 8 blocks need at most some dozens of entries."""
    policy = policy_with(*(bytes([each]) for each in range(8)))
    cached = blocks(*range(8))
    for number in range(5000):
        block = evict(policy, cached)
        policy.known(block, str(number).encode())
        cached[block] = None
    assert entries(vars(policy)) <= 64


def entries(value: object) -> int:
    """Return how many items containers hold, all levels together."""
    if isinstance(value, dict):
        return len(value) + sum(entries(each) for each in value.values())
    return len(value) + sum(map(entries, value)) if isinstance(value, list | tuple | set) else 0


# What it is worth


def text(seed: str, num_tokens: int) -> list[int]:
    random = Random(seed)
    return [random.randrange(1000) for _ in range(num_tokens)]


def scan() -> Prompts:
    """Six system prompts that come back, between long documents that do not."""
    random, prompts = Random(1), []
    for number in range(400):
        if random.random() < 0.35:
            prompts.append(text(f"document {number}", random.randrange(120, 240)))
        else:
            prompts.append(text(f"system {random.randrange(6)}", 48) + text(f"question {number}", 8))
    return prompts


def chat() -> Prompts:
    """Ten conversations, each of which grows by a turn now and then and starts afresh at the end."""
    random, prompts = Random(2), []
    conversations = [text(f"user {number}", 24) for number in range(10)]
    for number in range(400):
        who = random.randrange(10)
        if random.random() < 0.12 or len(conversations[who]) > 200:
            conversations[who] = text(f"user {who} at {number}", 24)
        conversations[who] = conversations[who] + text(f"turn {number}", 12)
        prompts.append(conversations[who])
    return prompts


def popular() -> Prompts:
    """Sixty documents, the n-th asked about 1/n times as often as the first."""
    random, weights = Random(3), [1 / rank for rank in range(1, 61)]
    chosen = random.choices(range(60), weights, k=600)
    return [text(f"document {each}", 40) + text(f"question {number}", 6) for number, each in enumerate(chosen)]


def shift() -> Prompts:
    """Eight prompts that all come back; every hundred requests they are replaced by eight others."""
    random = Random(4)
    return [
        text(f"system {number // 100} {random.randrange(8)}", 56) + text(f"question {number}", 6)
        for number in range(600)
    ]


def hit_rate(prompts: Prompts, policy: Eviction | None, prefix_cache: str = "hash") -> float:
    """Return the part of all prompt tokens that the cache has, with one request at a time and no model."""
    manager = KVCacheManager(NUM_BLOCKS, BLOCK_SIZE, prefix_cache, policy or evict_least_recently_used)
    if policy is not None:
        policy.attach(manager)
    for number, prompt in enumerate(prompts):
        sequence = Sequence(str(number), list(prompt), SamplingParams(), arrival=number)
        assert manager.admit(sequence)
        start, size = sequence.num_computed_tokens, sequence.num_uncomputed_tokens
        if policy is not None:
            policy.reused(sequence.block_table[: start // BLOCK_SIZE])
        assert manager.grow(sequence, size)
        sequence.num_computed_tokens += size
        manager.commit(sequence, start, start + size)
        manager.release(sequence)
    return manager.stats.hits / manager.stats.queries


@cache
def lru(workload: Callable[[], Prompts], prefix_cache: str = "hash") -> float:
    return hit_rate(workload(), None, prefix_cache)


def against_lru(workload: Callable[[], Prompts], prefix_cache: str = "hash") -> tuple[float, str]:
    """Return the policy's hit rate over LRU's, and both in words."""
    mine, others = hit_rate(workload(), Eviction(NUM_BLOCKS), prefix_cache), lru(workload, prefix_cache)
    return mine / others, f"yours finds {mine:.1%} of the prompt tokens, LRU {others:.1%}"


def test_a_scan_does_not_flush_the_cache(record_property: Callable[[str, object], None]) -> None:
    """Documents that come once do not push out the prompts that come back: at least 1.4 times the hits of LRU."""
    record_property("prediction", round(100 * lru(scan)))
    ratio, said = against_lru(scan)
    assert ratio >= 1.4, said


def test_popular_documents_stay() -> None:
    """Documents of falling popularity: at least as many hits as LRU."""
    ratio, said = against_lru(popular)
    assert ratio >= 1.0, said


def test_conversations_do_not_suffer() -> None:
    """A conversation's newest turn was never reused, and it is what comes back: at most 5% fewer hits than LRU."""
    ratio, said = against_lru(chat)
    assert ratio >= 0.95, said


def test_yesterdays_favourites_leave() -> None:
    """The prompts that were reused are replaced by others: at most 5% fewer hits than LRU."""
    ratio, said = against_lru(shift)
    assert ratio >= 0.95, said


def test_the_radix_tree_gains_as_well() -> None:
    """With a radix tree, in which descendants are lost with their parent: at least 1.4 times the hits under a scan."""
    ratio, said = against_lru(scan, "radix")
    assert ratio >= 1.4, said


# Inside the engine


@pytest.mark.parametrize("prefix_cache", ["hash", "radix"])
def test_inside_the_engine(prefix_cache: str) -> None:
    """Under pressure, with all invariants checked: the tokens are those of an engine that never evicts."""
    from llm_engine import Engine, EngineConfig

    def tokens(num_blocks: int, policy: Eviction | None) -> dict[str, list[int]]:
        config = EngineConfig(
            str(MODELS / "zoo" / "llama"), max_num_seqs=3, num_gpu_blocks_override=num_blocks, block_size=4,
            max_model_len=64, prefix_cache=prefix_cache, attention_backend="torch", check_invariants=True,
        )  # fmt: skip
        policies = Policies() if policy is None else Policies(evict=policy)
        engine = Engine(config, [] if policy is None else [policy], policies)
        for number in range(12):
            prompt = text(f"system {number % 3}", 16) + text(f"question {number}", 5)
            params = SamplingParams(max_tokens=6, ignore_eos=True)
            engine.add_request(str(number), [3 + each for each in prompt], params)
        found: dict[str, list[int]] = {}
        while engine.has_work:
            for output in engine.step():
                found.setdefault(output.request_id, []).extend(output.token_ids)
        assert (engine.kv_cache.pool.num_evictions > 0) == (policy is not None)
        return found

    assert tokens(24, Eviction(24)) == tokens(512, None)
