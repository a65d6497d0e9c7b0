"""The scripted engine's prefix cache: whole KV blocks, found by their tokens and all tokens before them."""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile

from llm_contract.testing.script import KV_BLOCK_SIZE


class PrefixCache:
    """A least-recently-used set of blocks. It outlives the requests; capacity 0 holds nothing."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queries = 0
        """Prompt tokens looked up."""
        self.hits = 0
        """Prompt tokens found."""

    def add(self, prompt: list[int]) -> int:
        """Return the number of the prompt's first tokens that the cache has, then keep the whole prompt's blocks.

        As in vLLM the last token is never found: it is computed for its logits.
        """
        if not self._capacity:
            return 0
        keys = _keys(prompt)
        usable = keys[: (len(prompt) - 1) // KV_BLOCK_SIZE]
        found = KV_BLOCK_SIZE * sum(1 for _ in takewhile(self._blocks.__contains__, usable))
        self.queries += len(prompt)
        self.hits += found
        # The last block first: of two blocks of one prompt the later one is dropped first.
        for key in reversed(keys):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return found


def _keys(prompt: list[int]) -> list[int]:
    """Return a key for each whole block, from its tokens and the key before it."""
    keys = [0]
    for start in range(0, len(prompt) - KV_BLOCK_SIZE + 1, KV_BLOCK_SIZE):
        keys.append(hash((keys[-1], *prompt[start : start + KV_BLOCK_SIZE])))
    return keys[1:]
