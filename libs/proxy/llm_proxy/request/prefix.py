"""The prompts that an engine has seen recently: chained hashes of a prompt's blocks, and a bounded index of them.

A block's hash includes all blocks before it, so an engine that knows block i of a prompt knows its first i blocks. The
index records the prompts that were *sent* to an engine. It is as large as the engine's own prefix cache, so that both
forget at the same rate.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

BLOCK_BYTES = 256
MAX_BLOCKS = 64
"""16 KiB of prompt, about 4,000 tokens. Requests with that much in common need no longer match."""
DEFAULT_INDEX_BLOCKS = 8192
BYTES_PER_TOKEN = 4


def prefix_hashes(body: dict[str, Any]) -> tuple[int, ...]:
    """Return the hashes of the full blocks at the start of the prompt or messages, () if there is less than one block.

    CRC-32 chains by itself, runs at memory speed and is equal in every process. A collision costs a cache miss.
    """
    raw = _leading_bytes(body)
    hashes, last = [], 0
    for start in range(0, len(raw) - BLOCK_BYTES + 1, BLOCK_BYTES):
        last = zlib.crc32(raw[start : start + BLOCK_BYTES], last)
        hashes.append(last)
    return tuple(hashes)


def _leading_bytes(body: dict[str, Any]) -> bytes:
    limit = BLOCK_BYTES * MAX_BLOCKS
    pieces, length = [], 0
    for text in _texts(body):
        pieces.append(text[: limit - length].encode("utf-8", "surrogatepass"))
        length += len(pieces[-1])
        if length >= limit:
            break
    return b"".join(pieces)[:limit]


def _texts(body: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of the prompt in order. The first prompt stands for a batch of prompts."""
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict):
                role = message.get("role")
                yield f"\n{role}: " if isinstance(role, str) else "\n"
                yield from _content(message.get("content"))
        return
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        yield prompt
    elif isinstance(prompt, list):
        yield ",".join(str(token) for token in prompt[: BLOCK_BYTES * MAX_BLOCKS // 2] if isinstance(token, int))


def _content(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


class PrefixIndex:
    """The block hashes that one engine has seen. The least recently seen are forgotten first.

    Invariant: a block is at least as recent as the blocks after it in a prompt, since blocks are touched last to first.
    So the end of a prompt is forgotten before its start, and the known part of a prompt is always a prefix.
    """

    __slots__ = ("_seen", "capacity")

    def __init__(self, capacity: int = DEFAULT_INDEX_BLOCKS) -> None:
        self.capacity = capacity
        """Most blocks that are kept: at least one whole prompt."""
        self._seen: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def set_kv_tokens(self, kv_tokens: int) -> None:
        blocks = kv_tokens * BYTES_PER_TOKEN // BLOCK_BYTES
        self.capacity = max(MAX_BLOCKS, blocks) if blocks else DEFAULT_INDEX_BLOCKS

    def match(self, prefix: tuple[int, ...]) -> int:
        """Return how many leading blocks of the prompt the engine has seen. O(log n), as the known part is a prefix."""
        low, high = 0, len(prefix)
        while low < high:
            middle = (low + high) // 2
            if prefix[middle] in self._seen:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, prefix: tuple[int, ...]) -> None:
        seen = self._seen
        for block in reversed(prefix):
            seen[block] = None
            seen.move_to_end(block)
        while len(seen) > self.capacity:
            seen.popitem(last=False)

    def clear(self) -> None:
        self._seen.clear()
