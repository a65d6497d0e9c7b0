"""A token's bytes, each way's arithmetic, the two allocators in any order of calls, and the engine's own blocks."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import pytest
from exercise import (
    Blocks,
    Buddy,
    Census,
    FirstFit,
    Sequence,
    buddy,
    bytes_per_token,
    contiguous,
    fill,
    in_the_middle,
    paged,
    split,
)
from hypothesis import given
from hypothesis.strategies import integers

from llm_course.paths import MODELS

LLAMA_2_7B = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
LLAMA_3_8B = {**LLAMA_2_7B, "num_key_value_heads": 8}
QWEN3_06B = {
    "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
KIB = 1024


def test_bytes_of_known_models() -> None:
    """In 16 bits, a token of Llama-2-7B costs 512 KiB, one of Llama-3-8B 128 KiB, and one of Qwen3-0.6B 112 KiB."""
    assert bytes_per_token(LLAMA_2_7B, 2) == 512 * KIB
    assert bytes_per_token(LLAMA_3_8B, 2) == 128 * KIB
    assert bytes_per_token(QWEN3_06B, 2) == 112 * KIB


def test_bytes_are_the_engines() -> None:
    """For each model that comes with the course, the bytes are those that the engine takes for a token."""
    from llm_engine.checkpoint import families

    folders = [MODELS / "main", *sorted((MODELS / "zoo").glob("*/"))]
    configs = {path.name: json.loads((path / "config.json").read_text(encoding="utf-8")) for path in folders}
    found = {name: bytes_per_token(config, 4) for name, config in configs.items()}
    decoders = {name: families.parse_config(config) for name, config in configs.items()}
    assert found == {name: 2 * each.num_layers * each.kv_size * 4 for name, each in decoders.items()}


def test_a_power_of_two_for_the_whole_sequence() -> None:
    """A buddy's room holds the final tokens, and a power of two needs no more than itself."""
    assert [buddy(Sequence(1, final)) for final in (1, 2, 3, 1000, 1024, 1025)] == [1, 2, 4, 1024, 1024, 2048]


def test_blocks_for_the_tokens_that_are_there() -> None:
    """Sixteen tokens take one block of 16, seventeen take two; what will come later takes nothing yet."""
    assert [paged(16)(Sequence(tokens, 1000)) for tokens in (1, 16, 17, 33)] == [16, 16, 32, 48]


def test_each_slot_of_a_room_is_counted_once() -> None:
    """300 of 1,000 tokens: a room of 2,048 has 300 used, 700 reserved, 1,048 internal; 19 blocks have 300, 4 and 0."""
    sequence = Sequence(300, 1000)
    assert split(sequence, 2048) == (300, 700, 1048)
    assert split(sequence, buddy(sequence)) == (300, 700, 24)
    assert split(sequence, paged(16)(sequence)) == (300, 4, 0)


def test_the_end_of_a_sequence_stays_empty() -> None:
    """A sequence at its end has nothing reserved: the rest of its last block is internal fragmentation."""
    sequence = Sequence(300, 300)
    assert split(sequence, paged(16)(sequence)) == (300, 0, 4)


def test_the_first_gap_that_fits() -> None:
    """Gaps of 10, 30 and 20 slots: 20 slots go into the second, and then only 10, 10 and 20 are left."""
    memory = FirstFit(100)
    rooms = [memory.place(room) for room in (10, 20, 30, 20, 20)]
    assert rooms == [True] * 5
    memory.release(0)
    memory.release(30)
    memory.release(80)
    assert memory.gaps == [10, 30, 20]
    assert memory.place(20)
    assert memory.rooms[30] == 20
    assert memory.gaps == [10, 10, 20]
    assert not memory.place(21)


def test_a_gap_is_halved_until_it_is_right() -> None:
    """A room of 8 in a memory of 64 leaves its buddies of 8, 16 and 32."""
    memory = Buddy(64)
    assert memory.place(8)
    assert sorted(memory.gaps) == [8, 16, 32]
    assert memory.place(16)
    assert memory.rooms == {0: 8, 16: 16}
    assert not memory.place(64)


def test_only_buddies_grow_together() -> None:
    """Slots 8 to 15 and 16 to 23 are neighbours and no buddies: free, they stay two gaps of 8."""
    memory = Buddy(32)
    for _ in range(4):
        assert memory.place(8)
    memory.release(8)
    memory.release(16)
    assert sorted(memory.gaps) == [8, 8]
    memory.release(0)
    memory.release(24)
    assert memory.gaps == [32]


@pytest.mark.parametrize("kind", [FirstFit, Buddy])
@given(seed=integers(0, 10_000))
def test_no_slot_has_two_rooms(kind: type[FirstFit] | type[Buddy], seed: int) -> None:
    """In any order of calls rooms do not overlap, gaps fill the rest, and at the end the memory is one gap."""
    random, memory = Random(seed), kind(64)
    for _ in range(60):
        if memory.rooms and random.random() < 0.45:
            memory.release(random.choice(list(memory.rooms)))
        else:
            room = 1 << random.randint(0, 5)
            fits = max(memory.gaps, default=0) >= room
            assert memory.place(room) == fits
        slots = [slot for first, length in memory.rooms.items() for slot in range(first, first + length)]
        assert len(slots) == len(set(slots)), "two rooms share a slot"
        assert not slots or max(slots) < 64, "a room reaches over the end"
        assert len(slots) + sum(memory.gaps) == 64
    for first in list(memory.rooms):
        memory.release(first)
    assert memory.gaps == [64]


def test_what_the_gaps_are_worth() -> None:
    """Gaps of 25, 25 and 10 slots are 60 slots, and a sequence of 40 gets none of them: external fragmentation."""
    memory = FirstFit(100)
    for room in (25, 20, 25, 20):
        memory.place(room)
    memory.release(0)
    memory.release(45)
    later = [Sequence(5, 40)]
    assert fill(memory, later, contiguous(40)) == Census(0, 0, 0, 0, external=60, free=0)
    assert fill(memory, later, contiguous(20)) == Census(1, 5, 15, 0, external=0, free=40)


def test_the_first_that_does_not_fit_ends_it() -> None:
    """Sequences are placed in order: a small one behind a large one does not overtake."""
    census = fill(Blocks(64), [Sequence(40, 50), Sequence(30, 30), Sequence(2, 2)], paged(16))
    assert census == Census(1, 40, 8, 0, external=16, free=0)


@given(seed=integers(0, 10_000), block=integers(1, 64))
def test_paging_wastes_less_than_a_block_each(seed: int, block: int) -> None:
    """Reserved and internal together, a paged sequence wastes fewer slots than a block has."""
    sequences = in_the_middle(20, longest=500, seed=seed)
    size = 500 * 64
    census = fill(Blocks(size), sequences, paged(block))
    assert census.sequences == 20
    assert census.used == sum(sequence.tokens for sequence in sequences)
    assert census.reserved + census.internal <= 20 * (block - 1)
    assert census.used + census.reserved + census.internal + census.free == size


def test_the_same_memory_three_times(record_property: Callable[[str, object], None]) -> None:
    """131,072 slots, sequences of 1 to 2,048 tokens in mid-life: 64 fit as reservations, and over 200 as blocks."""
    size, sequences = 2**17, in_the_middle(2000, longest=2048)
    reserving = fill(FirstFit(size), sequences, contiguous(2048))
    knowing = fill(Buddy(size), sequences, buddy)
    paging = fill(Blocks(size), sequences, paged(16))
    record_property("prediction", round(100 * reserving.used / size))
    for census in (reserving, knowing, paging):
        assert sum((census.used, census.reserved, census.internal, census.external, census.free)) == size
    assert reserving.sequences == 64
    assert reserving.sequences < knowing.sequences < paging.sequences
    assert paging.sequences > 200
    assert paging.used / size > 0.95
    assert reserving.used / size < 0.35


def test_the_engine_takes_what_the_formula_says() -> None:
    """At every step of a run the engine owns exactly the blocks that `paged` says for its sequences."""
    from llm_engine import Engine, EngineConfig, SamplingParams

    owned: list[int] = []
    tokens: list[list[int]] = []

    class Books:
        def watch(self, engine: object) -> None: ...

        def queued(self, sequence: object) -> None: ...

        def launched(self, step, now: float) -> None:  # type: ignore[no-untyped-def]
            pool = engine.kv_cache.pool
            owned.append((pool.num_blocks - pool.num_available) * 8)
            running = engine.scheduler.running
            tokens.append([each.num_computed_tokens + step.num_tokens.get(each, 0) for each in running])

        def computed(self, step: object, sampled: object, now: float) -> None: ...

        def finished(self, sequence: object) -> None: ...

    config = EngineConfig(
        str(MODELS / "zoo" / "llama"), max_num_seqs=4, num_gpu_blocks_override=40, max_model_len=64, block_size=8,
        enable_prefix_caching=False, attention_backend="torch",
    )  # fmt: skip
    engine = Engine(config, [Books()])
    for index in range(8):
        params = SamplingParams(max_tokens=5 + 3 * index, ignore_eos=True)
        engine.add_request(str(index), [7 + index] * (3 + 2 * index), params)
    while engine.has_work:
        engine.step()
    rule = paged(8)
    assert [sum(rule(Sequence(count, 64)) for count in counts) for counts in tokens] == owned
    assert max(owned) > 64
