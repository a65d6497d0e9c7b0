"""Prefix caching: find the blocks that hold the KV of a prefix, by one chained hash per full block.

A block's key is a hash of its own tokens and of the key of the block before it, so equal keys mean equal prefixes. A
lookup walks along the chain until the first miss. Only full blocks are shared, because they are never written again.
Source: vLLM's automatic prefix caching, https://docs.vllm.ai/en/latest/design/prefix_caching.html
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
    """The interface to the manager, with three implementations: off, hash and radix (`radix_cache`)."""

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        """Return the blocks that hold the longest cached prefix, and how many tokens that is.

        At least one token is always left to compute: without it there would be no logits to sample from.
        """
        ...

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        """Remember the blocks `first <= i < last` of the block table; all are full and computed.

        A block whose prefix is cached already stays private to the sequence.
        """
        ...

    def holds(self, block: int) -> bool:
        """Return whether the block can be found by its prefix."""
        ...

    def forget(self, block: int) -> list[int]:
        """Forget a block that is about to be overwritten, and return the other blocks that become unreachable."""
        ...

    def __len__(self) -> int:
        """Return the number of cached blocks."""
        ...


class NoPrefixCache:
    """Prefix caching switched off: finds nothing and remembers nothing."""

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        return [], 0

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        return

    def holds(self, block: int) -> bool:
        return False

    def forget(self, block: int) -> list[int]:
        return []

    def __len__(self) -> int:
        return 0


class HashPrefixCache:
    """Prefix caching by chained hashes of full blocks."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._block_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        blocks: list[int] = []
        for key in self._keys(sequence, (sequence.num_tokens - 1) // self._block_size):
            block = self._block_of.get(key)
            if block is None:
                break
            blocks.append(block)
        return blocks, len(blocks) * self._block_size

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        keys = self._keys(sequence, last)
        for index in range(first, last):
            block, key = sequence.block_table[index], keys[index]
            if key not in self._block_of:
                self._block_of[key] = block
                self._key_of[block] = key

    def holds(self, block: int) -> bool:
        return block in self._key_of

    def forget(self, block: int) -> list[int]:
        # Blocks further along the chain keep their keys: if this block is recomputed, they are found again.
        del self._block_of[self._key_of.pop(block)]
        return []

    def __len__(self) -> int:
        return len(self._key_of)

    def _keys(self, sequence: Sequence, count: int) -> list[bytes]:
        keys, size = sequence.block_hashes, self._block_size
        if not keys and sequence.leader is not None:  # answers share a prompt, and only the leader hashes it
            keys.extend(sequence.leader.block_hashes[: sequence.num_prompt_tokens // size])
        extend_chain(keys, sequence.token_ids, size, count)
        return keys[:count]
