"""The KV cache manager: gives sequences blocks, takes blocks back, and shares the blocks of equal prefixes.

Between two steps a sequence owns exactly the blocks that its computed tokens fill:
`len(block_table) == ceil(num_computed_tokens / block_size)`. Tokens count as computed once their step is launched. Full
blocks can be shared once the step is read and its tokens are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llm_engine.kv_cache.block_pool import BlockPool
from llm_engine.kv_cache.memory import BlockCopy, Move
from llm_engine.kv_cache.prefix_cache import HashPrefixCache, NoPrefixCache, PrefixCache
from llm_engine.kv_cache.radix_cache import RadixPrefixCache
from llm_engine.scheduler.policies import EvictionPolicy, evict_least_recently_used
from llm_engine.scheduler.sequence import Sequence

PREFIX_CACHES: dict[str, Callable[[int], PrefixCache]] = {
    "off": lambda block_size: NoPrefixCache(),
    "hash": HashPrefixCache,
    "radix": RadixPrefixCache,
}


@dataclass(slots=True)
class PrefixCacheStats:
    queries: int = 0
    """Tokens looked up."""
    hits: int = 0
    """Tokens found."""


class CacheListener(Protocol):
    """Receives each change of what the prefix cache knows, in order."""

    def inserted(self, sequence: Sequence, first: int, last: int) -> None:
        """Called after the blocks `first <= i < last` of the table were offered; the cache may know others instead."""
        ...

    def evicted(self, block: int, lost: list[int]) -> None:
        """Called when `block` is taken for new content; nothing can find the `lost` blocks after that."""
        ...


class KVCacheManager:
    """The block tables of all sequences, over one block pool and one prefix cache."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        prefix_cache: str = "hash",
        evict: EvictionPolicy = evict_least_recently_used,
        *,
        num_host_blocks: int = 0,
    ) -> None:
        self.block_size = block_size
        self.prefix_cache = PREFIX_CACHES[prefix_cache](block_size)
        self.free_host_blocks = list(range(num_host_blocks))
        self.pool = BlockPool(num_blocks, self._forget, evict)
        self.stats = PrefixCacheStats()
        self.listeners: list[CacheListener] = []
        self._copies: list[BlockCopy] = []

    def num_blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def admit(self, sequence: Sequence) -> bool:
        """Give a waiting sequence the cached blocks of its prefix. Return False if the rest would not fit.

        The rest is not reserved: `grow` takes it chunk by chunk. The check avoids starting a sequence that would be
        preempted before its prompt is computed.
        """
        blocks, num_tokens = self._find_computed(sequence)
        if not self._fits(sequence, blocks, num_tokens):
            # A partly used block costs a second block for its copy. Without it the sequence may fit.
            blocks, num_tokens = _whole_blocks(blocks, num_tokens, self.block_size)
            if not self._fits(sequence, blocks, num_tokens):
                return False
        for block in blocks:
            self.pool.share(block)
        sequence.block_table = blocks
        sequence.num_computed_tokens = num_tokens
        self._count(sequence)
        if sequence.host_blocks:
            self._swap_in(sequence)
        return True

    def _fits(self, sequence: Sequence, blocks: list[int], num_tokens: int) -> bool:
        ownerless = sum(1 for block in blocks if self.pool.ref_counts[block] == 0)
        missing = self.num_blocks_for(sequence.num_tokens) - len(blocks) + self._is_partial(num_tokens)
        return missing + ownerless <= self.pool.num_available

    def grow(self, sequence: Sequence, num_tokens: int) -> bool:
        """Make room for the KV of the next `num_tokens` tokens.

        Return False, and change nothing, if too few blocks are available.
        """
        missing = self.num_blocks_for(sequence.num_computed_tokens + num_tokens) - len(sequence.block_table)
        copies = self._last_is_shared(sequence)
        if missing + copies > self.pool.num_available:
            return False
        if copies:
            self._copy_last(sequence)
        for _ in range(missing):
            sequence.block_table.append(self.pool.allocate())
        return True

    def take_copies(self) -> list[BlockCopy]:
        """Return the pending copies. They must be made in this order, before the step writes any KV."""
        copies, self._copies = self._copies, []
        return copies

    def commit(self, sequence: Sequence, start: int, end: int, num_rejected: int = 0) -> None:
        """Share the blocks that the tokens `start <= i < end` have filled, now that these are computed and known.

        The last `num_rejected` of them are rejected drafts: their room is given back.
        """
        if num_rejected:
            sequence.num_computed_tokens -= num_rejected
            self._trim(sequence)
        first, last = start // self.block_size, (end - num_rejected) // self.block_size
        if last > first:
            self._insert(sequence, first, last)

    def preempt(self, sequence: Sequence) -> None:
        """Take the blocks back. Swap their content to host memory if there is room; else it will be recomputed."""
        needed = self.num_blocks_for(sequence.num_computed_tokens)
        swapped, num_tokens = [], sequence.num_computed_tokens
        if needed <= len(self.free_host_blocks):
            for block in sequence.block_table[:needed]:
                swapped.append(self.free_host_blocks.pop())
                self._copies.append(BlockCopy(block, swapped[-1], Move.OUT))
        self.release(sequence)
        sequence.host_blocks, sequence.num_swapped_tokens = swapped, num_tokens if swapped else 0

    def release(self, sequence: Sequence) -> None:
        """Take all blocks back, last block first, so that a prefix is evicted after its continuation."""
        self._release_host(sequence)
        for block in reversed(sequence.block_table):
            self.pool.release(block, keep=self.prefix_cache.holds(block))
        sequence.block_table = []
        sequence.table_version += 1
        sequence.num_computed_tokens = 0

    def _insert(self, sequence: Sequence, first: int, last: int) -> None:
        self.prefix_cache.insert(sequence, first, last)
        for listener in self.listeners:
            listener.inserted(sequence, first, last)

    def _forget(self, block: int) -> list[int]:
        lost = self.prefix_cache.forget(block)
        for listener in self.listeners:
            listener.evicted(block, lost)
        return lost

    def _trim(self, sequence: Sequence) -> None:
        """Give back the blocks at the end that only rejected drafts needed."""
        needed = self.num_blocks_for(sequence.num_computed_tokens)
        if len(sequence.block_table) > needed:
            for block in reversed(sequence.block_table[needed:]):
                self.pool.release(block, keep=False)
            del sequence.block_table[needed:]
            sequence.table_version += 1

    def _find_computed(self, sequence: Sequence) -> tuple[list[int], int]:
        """Return the blocks that hold the KV of the sequence's first tokens, and the number of these tokens."""
        if sequence.host_blocks:
            return _whole_blocks(*self.prefix_cache.match(sequence), self.block_size)
        blocks, num_tokens = ([], 0) if sequence.wants_prompt_logprobs else self.prefix_cache.match(sequence)
        shared = sequence.num_prompt_tokens - 1  # the last one is recomputed for its logits
        leader = sequence.leader
        if leader is not None and leader.num_computed_tokens > shared > num_tokens:
            return leader.block_table[: self.num_blocks_for(shared)], shared
        return blocks, num_tokens

    def _swap_in(self, sequence: Sequence) -> None:
        """Fetch from the host the blocks that the prefix cache did not have."""
        first = len(sequence.block_table)
        for host_block in sequence.host_blocks[first:]:
            sequence.block_table.append(self.pool.allocate())
            self._copies.append(BlockCopy(host_block, sequence.block_table[-1], Move.IN))
        sequence.num_computed_tokens = max(sequence.num_computed_tokens, sequence.num_swapped_tokens)
        self._release_host(sequence)
        last = sequence.num_computed_tokens // self.block_size
        if last > first:
            self._insert(sequence, first, last)

    def _release_host(self, sequence: Sequence) -> None:
        self.free_host_blocks += sequence.host_blocks
        sequence.host_blocks, sequence.num_swapped_tokens = [], 0

    def _is_partial(self, num_tokens: int) -> bool:
        return num_tokens % self.block_size != 0

    def _last_is_shared(self, sequence: Sequence) -> bool:
        """Return whether the next token goes into a block that another sequence uses or can find."""
        if not self._is_partial(sequence.num_computed_tokens):
            return False
        block = sequence.block_table[-1]
        return self.pool.ref_counts[block] > 1 or self.prefix_cache.holds(block)

    def _copy_last(self, sequence: Sequence) -> None:
        """Copy on write: replace the shared last block by a private copy."""
        source, target = sequence.block_table[-1], self.pool.allocate()
        self._copies.append(BlockCopy(source, target))
        self.pool.release(source, keep=self.prefix_cache.holds(source))
        sequence.block_table[-1] = target
        sequence.table_version += 1

    def _count(self, sequence: Sequence) -> None:
        if sequence.num_preemptions == 0:
            sequence.num_cached_tokens = sequence.num_computed_tokens
            self.stats.queries += sequence.num_tokens
            self.stats.hits += sequence.num_computed_tokens


def _whole_blocks(blocks: list[int], num_tokens: int, block_size: int) -> tuple[list[int], int]:
    """Leave out a last block that is only partly used."""
    count = num_tokens // block_size
    return blocks[:count], count * block_size
