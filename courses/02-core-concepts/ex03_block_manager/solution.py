"""A block manager: who owns which block of KV memory, and which blocks equal prefixes share.

A block is in exactly one of three states:

    free     no sequence owns it, and its content is worthless
    cached   no sequence owns it, but its content is known and can be reused
    owned    `ref_counts[block]` block tables name it

Between two calls, a sequence's table has exactly the blocks that its computed tokens fill.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b


@dataclass(eq=False)
class Sequence:
    tokens: list[int]
    """The prompt, then the output."""
    num_computed: int = 0
    """Tokens, from the first on, whose keys and values lie in the blocks of `table`."""
    table: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Copy:
    """Block `source` is copied to block `target` before the next token is written."""

    source: int
    target: int


@dataclass(eq=False)
class Request:
    """For the simulator: `sequence` writes tokens until it has `num_tokens`."""

    sequence: Sequence
    num_tokens: int
    num_preemptions: int = 0


@dataclass(frozen=True)
class Blocks:
    """The blocks after one step of the simulator."""

    owned: int
    cached: int
    free: int


def keys(tokens: list[int], block_size: int) -> list[bytes]:
    """Return a key for each full block. It covers the block's tokens and, through its parent's key, all before them."""
    # region exercise: blake2b of the parent's key and the block's tokens, as bytes by `array("q", …)`
    found: list[bytes] = []
    for start in range(0, len(tokens) - block_size + 1, block_size):
        parent = found[-1] if found else b""
        content = array("q", tokens[start : start + block_size]).tobytes()
        found.append(blake2b(parent + content, digest_size=16).digest())
    return found
    # endregion


class BlockManager:
    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.ref_counts = [0] * num_blocks
        self.free = deque(range(num_blocks))
        self.cached: OrderedDict[int, None] = OrderedDict()
        """Least recently used first."""
        self.block_of: dict[bytes, int] = {}
        """Key of a known block -> the block, owned or cached."""
        self.key_of: dict[int, bytes] = {}
        self.num_evictions = 0

    @property
    def num_available(self) -> int:
        """Blocks that `allocate` could hand out now."""
        return len(self.free) + len(self.cached)

    @property
    def usage(self) -> float:
        """Owned blocks over all blocks, 0 to 1."""
        return 1 - self.num_available / self.num_blocks

    def num_blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    # Blocks

    def allocate(self) -> int:
        """Return a block with one reference. The caller has made sure that one is available."""
        # region exercise: a free block; without one, the least recently used cached block, which is then forgotten
        if self.free:
            block = self.free.popleft()
        else:
            block, _ = self.cached.popitem(last=False)
            del self.block_of[self.key_of.pop(block)]
            self.num_evictions += 1
        self.ref_counts[block] = 1
        return block
        # endregion

    def share(self, block: int) -> None:
        """Add a reference to an owned or cached block."""
        # region exercise: one reference more; a cached block becomes owned
        self.cached.pop(block, None)
        self.ref_counts[block] += 1
        # endregion

    def release(self, block: int) -> None:
        """Take a reference away; the last one makes the block cached if its content is known, else free."""
        # region exercise: one reference less; with the last one the block changes its state
        self.ref_counts[block] -= 1
        if self.ref_counts[block] > 0:
            return
        if block in self.key_of:
            self.cached[block] = None
        else:
            self.free.append(block)
        # endregion

    # Sequences

    def match(self, sequence: Sequence) -> list[int]:
        """Return the known blocks that hold the sequence's longest prefix.

        At least one token is left to compute: without it there would be no logits to sample from.
        """
        # region exercise: walk along the sequence's keys until the first that is not known
        blocks: list[int] = []
        for key in keys(sequence.tokens[:-1], self.block_size):
            block = self.block_of.get(key)
            if block is None:
                break
            blocks.append(block)
        return blocks
        # endregion

    def admit(self, sequence: Sequence) -> bool:
        """Give a new sequence the known blocks of its prefix, if the rest of its tokens would fit as well.

        False, and nothing changed, if they would not. The rest is not reserved: `grow` takes it.
        """
        # region exercise: share what `match` finds; a cached block that is shared is no longer available
        blocks = self.match(sequence)
        missing = self.num_blocks_for(len(sequence.tokens)) - len(blocks)
        ownerless = sum(1 for block in blocks if self.ref_counts[block] == 0)
        if missing + ownerless > self.num_available:
            return False
        for block in blocks:
            self.share(block)
        sequence.table = blocks
        sequence.num_computed = len(blocks) * self.block_size
        return True
        # endregion

    def fork(self, parent: Sequence, child: Sequence, num_tokens: int) -> None:
        """Let a new sequence use the blocks of its parent's first `num_tokens` tokens, the last one maybe in part."""
        # region exercise: share the parent's blocks; no block is copied before somebody writes
        child.table = parent.table[: self.num_blocks_for(num_tokens)]
        for block in child.table:
            self.share(block)
        child.num_computed = num_tokens
        # endregion

    def grow(self, sequence: Sequence, num_tokens: int) -> list[Copy] | None:
        """Make room for the next `num_tokens` tokens, and return the copies to make first.

        None, and nothing changed, if the room is not there. A token is never written to a block that another sequence
        reads, or that can be found by its key: such a block is copied first.
        """
        # region exercise: count the blocks that are needed, a copy among them, before you take the first
        missing = self.num_blocks_for(sequence.num_computed + num_tokens) - len(sequence.table)
        is_partial = sequence.num_computed % self.block_size != 0
        needs_copy = is_partial and self._is_shared(sequence.table[-1])
        if missing + needs_copy > self.num_available:
            return None
        copies: list[Copy] = []
        if needs_copy:
            source, target = sequence.table[-1], self.allocate()
            copies.append(Copy(source, target))
            sequence.table[-1] = target
            self.release(source)
        sequence.table += [self.allocate() for _ in range(missing)]
        return copies
        # endregion

    def _is_shared(self, block: int) -> bool:
        """Return whether another sequence reads the block, or can find it."""
        # region exercise: more than one reference, or a key
        return self.ref_counts[block] > 1 or block in self.key_of
        # endregion

    def commit(self, sequence: Sequence) -> None:
        """Make the full blocks of the computed tokens known. A prefix that is known already keeps its block."""
        # region exercise: a key for each full block, both ways
        known = keys(sequence.tokens[: sequence.num_computed], self.block_size)
        for key, block in zip(known, sequence.table, strict=False):
            if key not in self.block_of and block not in self.key_of:
                self.block_of[key] = block
                self.key_of[block] = key
        # endregion

    def finish(self, sequence: Sequence) -> None:
        """Take all blocks back. The last one first: it is evicted first, and a prefix is worth more than its end."""
        # region exercise: release the table from its end, and empty it
        for block in reversed(sequence.table):
            self.release(block)
        sequence.table = []
        sequence.num_computed = 0
        # endregion

    def preempt(self, sequence: Sequence) -> int:
        """Take all blocks back from a sequence that will come again.

        Return how many of its computed tokens would have to be computed once more if it came at once: those that no
        known block holds.
        """
        # region exercise: `finish`, then see what `match` still finds
        computed = sequence.num_computed
        self.finish(sequence)
        return max(0, computed - len(self.match(sequence)) * self.block_size)
        # endregion

    def check(self, running: Iterable[Sequence]) -> None:
        """Raise AssertionError on the first contradiction; `running` are all sequences that own blocks."""
        # region exercise: each block in one state, references counted right, tables as long as their tokens need
        references = [0] * self.num_blocks
        for sequence in running:
            needed = self.num_blocks_for(sequence.num_computed)
            assert len(sequence.table) == needed, f"{len(sequence.table)} blocks for {needed}"
            assert len(set(sequence.table)) == needed, "a table names a block twice"
            for block in sequence.table:
                references[block] += 1
        assert self.ref_counts == references, f"references {self.ref_counts}, tables have {references}"
        for block in range(self.num_blocks):
            states = self.free.count(block) + (block in self.cached) + (references[block] > 0)
            assert states == 1, f"block {block} is in {states} states"
            assert block not in self.cached or block in self.key_of, f"cached block {block} is not known"
        assert {block: key for key, block in self.block_of.items()} == self.key_of, "keys and blocks disagree"
        # endregion


class Simulator:
    """Continuous batching without a model: each step computes every running sequence's tokens and writes one more."""

    def __init__(self, manager: BlockManager, requests: Iterable[Request]) -> None:
        self.manager = manager
        self.waiting = deque(requests)
        self.running: list[Request] = []
        """In the order of admission."""
        self.num_recomputed = 0
        """Tokens computed again because their sequence was preempted."""

    def step(self) -> Blocks:
        """Grow what runs, the oldest first; admit what fits; write a token each; return the blocks' states."""
        # region exercise: the four things of the docstring, in its order
        self._grow_running()
        self._admit_waiting()
        for request in list(self.running):
            self._write(request)
        manager = self.manager
        return Blocks(manager.num_blocks - manager.num_available, len(manager.cached), len(manager.free))
        # endregion

    def run(self) -> list[Blocks]:
        """Step until every request has its tokens."""
        # region exercise: step while a request waits or runs
        steps = []
        while self.waiting or self.running:
            steps.append(self.step())
        return steps
        # endregion

    def _grow_running(self) -> None:
        """Make room for each running sequence's tokens; the youngest is preempted, as often as needed, for an older."""
        # region exercise: preempt the youngest until there is room; it goes to the front of `waiting`
        for request in list(self.running):
            while request in self.running and not self._has_room(request):
                victim = self.running.pop()
                victim.num_preemptions += 1
                self.num_recomputed += self.manager.preempt(victim.sequence)
                self.waiting.appendleft(victim)
        # endregion

    def _has_room(self, request: Request) -> bool:
        sequence = request.sequence
        return self.manager.grow(sequence, len(sequence.tokens) - sequence.num_computed) is not None

    def _admit_waiting(self) -> None:
        """Admit from the front while it fits; nothing overtakes, or a large request would starve."""
        # region exercise: admit and grow the first in `waiting` until one does not fit
        while self.waiting and self.manager.admit(self.waiting[0].sequence):
            request = self.waiting.popleft()
            self._has_room(request)
            self.running.append(request)
        # endregion

    def _write(self, request: Request) -> None:
        """The sequence's tokens are computed; it writes one, or ends."""
        # region exercise: commit, then append a token or finish
        sequence = request.sequence
        sequence.num_computed = len(sequence.tokens)
        self.manager.commit(sequence)
        if len(sequence.tokens) >= request.num_tokens:
            self.manager.finish(sequence)
            self.running.remove(request)
        else:
            sequence.tokens.append(next_token(sequence.tokens))
        # endregion


def next_token(tokens: list[int]) -> int:
    """Stand in for a model: the token follows from all tokens before it."""
    return int.from_bytes(blake2b(array("q", tokens).tobytes(), digest_size=2).digest())
