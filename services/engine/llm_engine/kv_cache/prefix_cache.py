"""Which block holds the KV of which prefix: a chained hash per full block.

A block's key covers its own tokens and, through the parent's key, all tokens before it; equal keys mean equal
prefixes, so a lookup is a walk along the chain until the first miss. Only full blocks are shared: they are never
written again. Source: vLLM's automatic prefix caching, https://docs.vllm.ai/en/latest/design/prefix_caching.html
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import Protocol

from llm_engine.scheduler.sequence import Sequence

ROOT = b""


def extend_chain(keys: list[bytes], token_ids: list[int], block_size: int, count: int) -> None:
    """Append chained keys of the next full blocks until there are `count`."""
    while len(keys) < count:
        start = len(keys) * block_size
        parent = keys[-1] if keys else ROOT
        tokens = array("q", token_ids[start : start + block_size]).tobytes()
        keys.append(blake2b(parent + tokens, digest_size=16).digest())


class PrefixCache(Protocol):
    """The interface to `manager`; `radix_cache` implements it as well."""

    def match(self, sequence: Sequence) -> tuple[list[int], int]: ...
    def insert(self, sequence: Sequence, first: int, last: int) -> None: ...
    def holds(self, block: int) -> bool: ...
    def forget(self, block: int) -> list[int]: ...
    def __len__(self) -> int: ...


class HashPrefixCache:
    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._block_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        """The blocks that hold the longest cached prefix, and its tokens.

        At least one token is always left to compute: without it there would be no logits to sample from.
        """
        blocks: list[int] = []
        for key in self._keys(sequence, (sequence.num_tokens - 1) // self._block_size):
            block = self._block_of.get(key)
            if block is None:
                break
            blocks.append(block)
        return blocks, len(blocks) * self._block_size

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        """Make the blocks `first <= i < last` of the table, full and computed, known.

        Where another block already holds the same prefix, that one stays the shared one.
        """
        keys = self._keys(sequence, last)
        for index in range(first, last):
            block, key = sequence.block_table[index], keys[index]
            if key not in self._block_of:
                self._block_of[key] = block
                self._key_of[block] = key

    def holds(self, block: int) -> bool:
        return block in self._key_of

    def forget(self, block: int) -> list[int]:
        """The block is about to be overwritten. No other block becomes worthless by that at once: those after it can
        not be found until somebody computes it again, and age until then."""
        del self._block_of[self._key_of.pop(block)]
        return []

    def __len__(self) -> int:
        return len(self._key_of)

    def _keys(self, sequence: Sequence, count: int) -> list[bytes]:
        keys, size = sequence.block_hashes, self._block_size
        if not keys and sequence.leader is not None:  # the prompt is the same; of 128 answers one hashes it
            keys.extend(sequence.leader.block_hashes[: sequence.num_prompt_tokens // size])
        extend_chain(keys, sequence.token_ids, size, count)
        return keys[:count]


class NoPrefixCache(HashPrefixCache):
    """Caching off: nothing is ever found, nothing is kept."""

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        return [], 0

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        return
