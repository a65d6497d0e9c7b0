"""The engine's KV cache manager on top of the exercise's: the engine's sequences in, its block tables out.

It has no swapping to host memory and no radix tree; all else that the engine asks of its manager is here.
"""

from __future__ import annotations

from llm_engine.kv_cache.block_manager import BlockManager  # pants: no-infer-dep
from llm_engine.kv_cache.block_manager import Sequence as Held  # pants: no-infer-dep
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.kv_cache.prefix_cache import CacheListener
from llm_engine.scheduler.policies import EvictionPolicy, evict_least_recently_used
from llm_engine.scheduler.sequence import Sequence


class PrefixCacheStats:
    queries = 0
    hits = 0


class Known:
    """The blocks that can be found by a key."""

    def __init__(self, manager: BlockManager) -> None:
        self._manager = manager

    def holds(self, block: int) -> bool:
        return block in self._manager.key_of

    def __len__(self) -> int:
        return len(self._manager.key_of)


class KVCacheManager:
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
        self.pool = BlockManager(num_blocks, block_size)
        self.num_blocks_for = self.pool.num_blocks_for
        self.prefix_cache = Known(self.pool)
        self.stats = PrefixCacheStats()
        self.free_host_blocks: list[int] = []
        self.listeners: list[CacheListener] = []
        self._copies: list[BlockCopy] = []

    def admit(self, sequence: Sequence) -> bool:
        held, known = Held(list(sequence.token_ids)), list(self.pool.key_of)
        shared = sequence.num_prompt_tokens - 1
        leader = sequence.leader
        if leader is not None and leader.block_table and leader.num_computed_tokens > shared > 0:
            if self.num_blocks_for(sequence.num_tokens) > self.pool.num_available:
                return False
            self.pool.fork(self._held(leader), held, shared)
        elif not self.pool.admit(held):
            return False
        sequence.num_computed_tokens = held.num_computed
        self._keep(sequence, held)
        self._note_evictions(known)
        if sequence.num_preemptions == 0:
            sequence.num_cached_tokens = held.num_computed
            self.stats.queries += sequence.num_tokens
            self.stats.hits += held.num_computed
        return True

    def grow(self, sequence: Sequence, num_tokens: int) -> bool:
        held, known = self._held(sequence), list(self.pool.key_of)
        copies = self.pool.grow(held, num_tokens)
        self._note_evictions(known)
        if copies is None:
            return False
        self._copies += [BlockCopy(copy.source, copy.target) for copy in copies]
        self._keep(sequence, held)
        return True

    def take_copies(self) -> list[BlockCopy]:
        copies, self._copies = self._copies, []
        return copies

    def commit(self, sequence: Sequence, start: int, end: int, num_rejected: int = 0) -> None:
        assert num_rejected == 0, "the exercise's manager is not made for speculation"
        held = self._held(sequence)
        held.num_computed = end
        self.pool.commit(held)
        for listener in self.listeners:
            listener.inserted(sequence, start // self.block_size, end // self.block_size)

    def preempt(self, sequence: Sequence) -> None:
        held = self._held(sequence)
        self.pool.preempt(held)
        sequence.num_computed_tokens = 0
        self._keep(sequence, held)

    def release(self, sequence: Sequence) -> None:
        held = self._held(sequence)
        self.pool.finish(held)
        sequence.num_computed_tokens = 0
        self._keep(sequence, held)

    def _note_evictions(self, known: list[int]) -> None:
        for block in known:
            if block not in self.pool.key_of:
                for listener in self.listeners:
                    listener.evicted(block, [])

    def _held(self, sequence: Sequence) -> Held:
        return Held(list(sequence.token_ids), sequence.num_computed_tokens, list(sequence.block_table))

    def _keep(self, sequence: Sequence, held: Held) -> None:
        if sequence.block_table != held.table[: len(sequence.block_table)]:
            sequence.table_version += 1
        sequence.block_table = list(held.table)
