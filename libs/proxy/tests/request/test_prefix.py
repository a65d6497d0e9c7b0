from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.request.prefix import BLOCK_BYTES, DEFAULT_INDEX_BLOCKS, MAX_BLOCKS, PrefixIndex, prefix_hashes

BLOCK = "x" * BLOCK_BYTES


def chat(*contents: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("body", "blocks"),
    [
        ({}, 0),
        ({"prompt": BLOCK[1:]}, 0),
        ({"prompt": BLOCK}, 1),
        ({"prompt": BLOCK * 3 + "rest"}, 3),
        ({"prompt": BLOCK * (MAX_BLOCKS + 5)}, MAX_BLOCKS),
        ({"prompt": [BLOCK * 2, "another"]}, 2),
        ({"prompt": list(range(1000, 1052))}, 1),
        ({"prompt": [list(range(1000, 1052))]}, 1),
        ({"prompt": "é" * (BLOCK_BYTES // 2)}, 1),
        ({"prompt": "\ud800" + BLOCK}, 1),
        (chat(BLOCK, BLOCK), 2),
        (chat([{"type": "text", "text": BLOCK}, {"type": "image_url", "image_url": {}}]), 1),
        (chat(None, 7), 0),
    ],
)
def test_full_blocks_at_the_start_are_hashed(body: dict[str, Any], blocks: int) -> None:
    assert len(prefix_hashes(body)) == blocks


def test_the_same_beginning_has_the_same_hashes_and_no_block_is_seen_without_those_before() -> None:
    one, other = (prefix_hashes({"prompt": BLOCK * 2 + last * BLOCK_BYTES + BLOCK}) for last in "ab")
    assert one[:2] == other[:2]
    assert not set(one[2:]) & set(other[2:])
    assert prefix_hashes(chat(BLOCK)) != prefix_hashes(chat(BLOCK, role="system"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "text", "prompt"]), inner),
)


@given(st.dictionaries(st.sampled_from(["prompt", "messages", "model"]), JSON))
def test_no_body_makes_it_raise(body: dict[str, Any]) -> None:
    assert len(prefix_hashes(body)) <= MAX_BLOCKS


@given(st.text(max_size=2000), st.text(max_size=500), st.text(max_size=500))
def test_two_prompts_share_at_least_the_full_blocks_of_what_they_share(start: str, one: str, other: str) -> None:
    shared = len(start.encode()) // BLOCK_BYTES
    assert prefix_hashes({"prompt": start + one})[:shared] == prefix_hashes({"prompt": start + other})[:shared]


def test_the_ends_of_prompts_are_forgotten_before_their_beginnings() -> None:
    index = PrefixIndex(4)
    index.add((1, 2, 3))
    index.add((1, 20, 30))
    assert (index.match((1, 2, 3)), index.match((1, 20, 30))) == (2, 3)
    index.clear()
    assert index.match((1,)) == 0


@pytest.mark.parametrize(("kv_tokens", "capacity"), [(0, DEFAULT_INDEX_BLOCKS), (64, MAX_BLOCKS), (64_000, 1000)])
def test_the_index_is_as_large_as_the_engines_cache(kv_tokens: int, capacity: int) -> None:
    index = PrefixIndex()
    index.set_kv_tokens(kv_tokens)
    assert index.capacity == capacity


PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=60)


@given(PROMPTS, st.integers(6, 12))
def test_what_it_knows_of_a_prompt_is_always_a_prefix(prompts: list[list[int]], capacity: int) -> None:
    index = PrefixIndex(capacity)
    chained = [tuple(hash(tuple(prompt[: end + 1])) for end in range(len(prompt))) for prompt in prompts]
    for prefix in chained:
        index.add(prefix)
        assert index.match(prefix) == len(prefix), "the latest one is known in full"
        assert len(index) <= capacity
        for other in chained:
            known = [block in index._seen for block in other]
            assert index.match(other) == sum(known)
            assert known == sorted(known, reverse=True)
