"""Blocks and sequences, one promise a test; then any order of calls, against a memory that is really written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from exercise import BlockManager, Copy, Sequence
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import DataObject, data, integers, lists

BLOCK = 4


def computed(manager: BlockManager, *tokens: int) -> Sequence:
    """Return a sequence whose tokens are all computed and known."""
    sequence = Sequence(list(tokens))
    assert manager.admit(sequence), "there is room, and it is refused"
    compute(manager, sequence)
    return sequence


def compute(manager: BlockManager, sequence: Sequence) -> None:
    assert manager.grow(sequence, len(sequence.tokens) - sequence.num_computed) is not None, "there is room"
    sequence.num_computed = len(sequence.tokens)
    manager.commit(sequence)


def test_a_block_stays_owned_until_its_last_reference_goes() -> None:
    """A shared block is owned until each of its owners has released it."""
    manager = BlockManager(2, BLOCK)
    block = manager.allocate()
    manager.share(block)
    manager.release(block)
    assert manager.num_available == 1
    manager.release(block)
    assert manager.num_available == 2


def test_a_sequence_owns_the_blocks_that_its_tokens_fill() -> None:
    """Nine tokens in blocks of four fill three blocks, and all come back at the end."""
    manager = BlockManager(10, BLOCK)
    sequence = computed(manager, *range(9))
    assert len(sequence.table) == 3
    manager.finish(sequence)
    assert (sequence.table, sequence.num_computed) == ([], 0)
    assert manager.num_available == 10


def test_equal_prefixes_share_full_blocks_and_only_those() -> None:
    """A prompt that begins like a running one takes its full blocks; the third block, half full, it computes itself."""
    manager = BlockManager(10, BLOCK)
    first = computed(manager, *range(10))
    second = Sequence([*range(10), 99])
    assert manager.admit(second)
    assert second.table == first.table[:2]
    assert second.num_computed == 8
    assert [manager.ref_counts[block] for block in first.table] == [2, 2, 1]


def test_the_same_tokens_after_another_prefix_are_not_shared() -> None:
    """A block's key covers all tokens before it: equal tokens after another beginning are another block."""
    manager = BlockManager(10, BLOCK)
    computed(manager, 1, 2, 3, 4, 5, 6, 7, 8, 0)
    other = Sequence([9, 9, 9, 9, 5, 6, 7, 8, 0])
    assert manager.admit(other)
    assert other.table == []


def test_one_token_is_left_to_compute() -> None:
    """A prompt that is known whole still computes its last block: without a token there are no logits."""
    manager = BlockManager(10, BLOCK)
    computed(manager, *range(8))
    again = Sequence(list(range(8)))
    assert manager.admit(again)
    assert again.num_computed == 4


def test_a_free_block_goes_before_a_cached_one() -> None:
    """Nothing known is thrown away while a free block is there."""
    manager = BlockManager(3, BLOCK)
    manager.finish(computed(manager, *range(4)))
    manager.allocate()
    manager.allocate()
    assert (len(manager.cached), manager.num_evictions) == (1, 0)
    manager.allocate()
    assert (len(manager.cached), manager.num_evictions) == (0, 1)


def test_an_evicted_block_is_forgotten() -> None:
    """Once a cached block is given to another sequence, a lookup never finds its old content."""
    manager = BlockManager(2, BLOCK)
    manager.finish(computed(manager, *range(8)))
    manager.finish(computed(manager, *range(100, 108)))
    assert manager.match(Sequence(list(range(9)))) == []
    assert len(manager.block_of) == len(manager.key_of) == 2


def test_a_prefix_outlives_its_continuation() -> None:
    """A finished sequence's end is evicted first: others are likelier to share its beginning."""
    manager = BlockManager(3, BLOCK)
    old = computed(manager, *range(12))
    blocks = list(old.table)
    manager.finish(old)
    computed(manager, 50, 51, 52)
    assert manager.match(Sequence(list(range(13)))) == blocks[:2]


def test_a_cached_prefix_is_no_room_for_the_rest() -> None:
    """Two cached blocks that a sequence takes up cannot hold its other tokens too: 4 blocks do not fit in 3."""
    manager = BlockManager(3, BLOCK)
    manager.finish(computed(manager, *range(8)))
    assert not manager.admit(Sequence([*range(8), *range(20, 28)]))
    assert manager.num_available == 3


def test_growth_that_does_not_fit_changes_nothing() -> None:
    """`grow` takes every block it needs, or none."""
    manager = BlockManager(3, BLOCK)
    sequence = computed(manager, *range(7))
    table = list(sequence.table)
    assert manager.grow(sequence, 6) is None
    assert (sequence.table, manager.num_available) == (table, 1)


def test_a_shared_block_is_copied_on_the_first_write() -> None:
    """Two answers share six tokens' blocks; the first to write gets a copy of the half-full one, the other none."""
    manager = BlockManager(10, BLOCK)
    parent, child = computed(manager, *range(6)), Sequence(list(range(6)))
    shared = parent.table[1]
    manager.fork(parent, child, 6)
    assert child.table == parent.table
    assert manager.grow(child, 1) == [Copy(shared, child.table[1])]
    assert child.table[1] != shared
    assert manager.grow(parent, 1) == []


def test_a_block_that_can_be_found_is_not_written_to() -> None:
    """A child that uses part of a full, known block copies it, even when it is the only owner left."""
    manager = BlockManager(10, BLOCK)
    parent, child = computed(manager, *range(8)), Sequence(list(range(6)))
    manager.fork(parent, child, 6)
    manager.finish(parent)
    copies = manager.grow(child, 1)
    assert copies is not None
    assert len(copies) == 1


def test_a_copy_counts_as_a_block() -> None:
    """The copy of a shared block needs room like any other block."""
    manager = BlockManager(2, BLOCK)
    parent, child = computed(manager, *range(6)), Sequence(list(range(6)))
    manager.fork(parent, child, 6)
    assert manager.grow(child, 1) is None
    assert child.table == parent.table


def test_n_answers_share_their_prompt(record_property: Callable[[str, object], None]) -> None:
    """Eight answers to a prompt of 100 tokens own its six full blocks once, and two blocks each."""
    manager = BlockManager(100, 16)
    answers = [computed(manager, *range(100))]
    for _ in range(7):
        answers.append(Sequence(list(range(100))))
        manager.fork(answers[0], answers[-1], 100)
    for step in range(20):
        for index, answer in enumerate(answers):
            answer.tokens.append(1000 * index + step)
            compute(manager, answer)
    owned = manager.num_blocks - manager.num_available
    record_property("prediction", owned)
    assert owned == 6 + 8 * 2


def test_preemption_counts_what_is_lost() -> None:
    """A preempted sequence loses the tokens that no known block holds: here the two of its last, half-full block."""
    manager = BlockManager(10, BLOCK)
    sequence = computed(manager, *range(10))
    assert manager.preempt(sequence) == 2
    assert (sequence.table, sequence.num_computed) == ([], 0)
    assert manager.num_available == 10


@pytest.mark.parametrize("defect", ["reference", "free twice", "long table", "stale key"])
def test_check_notices(defect: str) -> None:
    """`check` passes a manager that is right, and raises AssertionError on one that contradicts itself."""
    manager = BlockManager(10, BLOCK)
    sequence = computed(manager, *range(9))
    manager.check([sequence])
    if defect == "reference":
        manager.ref_counts[sequence.table[0]] += 1
    elif defect == "free twice":
        manager.free.append(manager.free[0])
    elif defect == "long table":
        sequence.table.append(manager.allocate())
    else:
        del manager.block_of[manager.key_of[sequence.table[0]]]
    with pytest.raises(AssertionError):
        manager.check([sequence])


class Machine(RuleBasedStateMachine):
    """In any order of calls, each computed token of each sequence still lies where its table says."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(7, BLOCK)
        self.running: list[Sequence] = []
        self.memory: dict[int, dict[int, tuple[int, ...]]] = {block: {} for block in range(7)}

    @precondition(lambda self: len(self.running) < 4)
    @rule(tokens=lists(integers(0, 1), min_size=1, max_size=10))
    def admit(self, tokens: list[int]) -> None:
        sequence = Sequence(tokens)
        before = self.manager.num_available
        if self.manager.admit(sequence):
            self.running.append(sequence)
            if not self.write(sequence, len(tokens) - sequence.num_computed):
                raise AssertionError("a sequence is admitted and does not fit")
        else:
            assert self.manager.num_available == before

    @precondition(lambda self: self.running)
    @rule(data=data(), token=integers(0, 1))
    def decode(self, data: DataObject, token: int) -> None:
        sequence = data.draw(_one_of(self.running))
        sequence.tokens.append(token)
        if not self.write(sequence, 1):
            sequence.tokens.pop()

    @precondition(lambda self: self.running and len(self.running) < 4)
    @rule(data=data())
    def fork(self, data: DataObject) -> None:
        parent = data.draw(_one_of(self.running))
        num_tokens = data.draw(integers(1, parent.num_computed))
        child = Sequence(parent.tokens[:num_tokens])
        self.manager.fork(parent, child, num_tokens)
        self.running.append(child)

    @precondition(lambda self: self.running)
    @rule(data=data())
    def finish(self, data: DataObject) -> None:
        sequence = data.draw(_one_of(self.running))
        self.running.remove(sequence)
        self.manager.finish(sequence)

    @precondition(lambda self: self.running)
    @rule(data=data())
    def preempt(self, data: DataObject) -> None:
        sequence = data.draw(_one_of(self.running))
        self.running.remove(sequence)
        computed = sequence.num_computed
        assert 0 <= self.manager.preempt(sequence) <= computed

    def write(self, sequence: Sequence, num_tokens: int) -> bool:
        """Compute the next tokens as an engine would: make the copies, then write to the places the table names."""
        table, before = list(sequence.table), self.manager.num_available
        copies = self.manager.grow(sequence, num_tokens)
        if copies is None:
            assert (sequence.table, self.manager.num_available) == (table, before), "refused, and yet changed"
            return False
        for copy in copies:
            self.memory[copy.target] = dict(self.memory[copy.source])
        for place in range(sequence.num_computed, sequence.num_computed + num_tokens):
            slots = self.memory[sequence.table[place // BLOCK]]
            slots[place % BLOCK] = tuple(sequence.tokens[: place + 1])
        sequence.num_computed += num_tokens
        self.manager.commit(sequence)
        return True

    @invariant()
    def each_token_lies_where_the_table_says(self) -> None:
        for sequence in self.running:
            for place in range(sequence.num_computed):
                content = self.memory[sequence.table[place // BLOCK]].get(place % BLOCK)
                assert content == tuple(sequence.tokens[: place + 1])

    @invariant()
    def each_block_is_in_one_state(self) -> None:
        owned = {block for sequence in self.running for block in sequence.table}
        assert sorted([*owned, *self.manager.free, *self.manager.cached]) == list(range(7))
        tables = [block for sequence in self.running for block in sequence.table]
        assert list(self.manager.ref_counts) == [tables.count(block) for block in range(7)]


def _one_of(items: list[Sequence]):  # type: ignore[no-untyped-def]  # hypothesis's strategies are not exported by name
    return integers(0, len(items) - 1).map(lambda index: items[index])


class TestAnyOrder(Machine.TestCase):  # type: ignore[name-defined,misc]
    """In any order of calls, each computed token of each sequence still lies where its table says."""

    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
