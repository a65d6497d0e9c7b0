"""A policy that decides which cached block is overwritten next, for workloads on which LRU fails.

LRU ranks a block by its last use. A scan, one long document after another, fills the cache with blocks that are used
once, and pushes out the prompts that come back. Two facts help to tell them apart: whether a block has been found
again since it was computed, and whether a block that was evicted is computed anew.

    engine = Engine(config, observers=[policy], policies=Policies(evict=policy))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.observers.observer import ObservedEngine


class Eviction:
    """An eviction policy that also listens to the prefix cache and to admissions.

    A key stands for a block's content and all before it: the same prefix has the same key whenever it is computed.
    """

    def __init__(self, num_blocks: int) -> None:
        """Remember what you need, but never more than a few entries for each of the `num_blocks` blocks."""
        # region exercise: the blocks that were reused, keys of evicted blocks, and how much of the cache reuse earns
        # stub: pass
        self.num_blocks = num_blocks
        self.reused_blocks: set[int] = set()
        self.share = num_blocks / 2
        """Cached blocks that may be reused ones before the oldest of these is evicted."""
        self.key_of: dict[int, Hashable] = {}
        self.ghosts: tuple[OrderedDict[Hashable, None], ...] = (OrderedDict(), OrderedDict())
        """Keys of evicted blocks that were never reused, and of those that were."""
        # endregion

    def __call__(self, cached: OrderedDict[int, None]) -> int:
        """Return the block to overwrite.

        `cached` holds all blocks that can be chosen, longest unused first. It belongs to the pool: do not change it.
        """
        # region exercise: longest unused of those never reused, unless reused ones take more than their share
        fresh = next((block for block in cached if block not in self.reused_blocks), None)
        oldest = next((block for block in cached if block in self.reused_blocks), None)
        too_many = sum(block in self.reused_blocks for block in cached) > self.share
        if fresh is None or (too_many and oldest is not None):
            assert oldest is not None
            return oldest
        return fresh
        # endregion

    def reused(self, blocks: Iterable[int]) -> None:
        """Note that a new sequence found these blocks by their content."""
        # region exercise: they have proved their worth
        self.reused_blocks.update(blocks)
        # endregion

    def known(self, block: int, key: Hashable) -> None:
        """Note that `block` now holds the content that `key` stands for. It was computed, not found."""
        # region exercise: a key that was evicted lately is a mistake of the policy; move the share the other way
        self.key_of[block] = key
        for ghosts, change in zip(self.ghosts, (-1, 1), strict=True):
            if key in ghosts:
                del ghosts[key]
                self.share = min(max(0, self.share + change), self.num_blocks)
                self.reused_blocks.add(block)
        # endregion

    def evicted(self, block: int, lost: list[int]) -> None:
        """Note that `block` gets new content, and that the `lost` blocks cannot be found any more without it."""
        # region exercise: forget what was known of all of them; only the key of the evicted one is kept, for a while
        ghosts = self.ghosts[block in self.reused_blocks]
        ghosts[self.key_of[block]] = None
        if len(ghosts) > self.num_blocks:
            ghosts.popitem(last=False)
        for gone in (block, *lost):
            self.key_of.pop(gone, None)
            self.reused_blocks.discard(gone)
        # endregion

    # The engine's side

    def attach(self, kv_cache: KVCacheManager) -> None:
        self._kv_cache = kv_cache
        kv_cache.listeners.append(self)

    def watch(self, engine: ObservedEngine) -> None:
        self.attach(engine.kv_cache)

    def inserted(self, sequence: Sequence, first: int, last: int) -> None:
        """Pass on which blocks `first <= i < last` of the table the prefix cache knows from now on."""
        key, size = 0, self._kv_cache.block_size
        for index, block in enumerate(sequence.block_table[:last]):
            key = hash((key, *sequence.token_ids[index * size : (index + 1) * size]))
            if index >= first and self._kv_cache.prefix_cache.holds(block):  # else an equal block is the known one
                self.known(block, key)

    def launched(self, step: Step, now: float) -> None:
        for sequence in step.admitted:
            self.reused(sequence.block_table[: step.starts[sequence] // self._kv_cache.block_size])

    def queued(self, sequence: Sequence) -> None:
        pass

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        pass

    def finished(self, sequence: Sequence) -> None:
        pass
