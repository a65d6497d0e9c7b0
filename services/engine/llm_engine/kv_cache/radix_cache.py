"""Prefix caching with a radix tree: find the blocks that hold the KV of a prefix without hashing.

    root ── [import os\n…] ── [def main():…] ── …
                           └─ [class A:…]

Each node is one full block, and the path from the root spells the prefix. A walk down the tree finds the longest
prefix. If it ends inside a block, the sequence still shares the beginning of that block and copies it on its first
write. Source: SGLang's RadixAttention (Zheng et al., 2024), here with edges of one block.

A sequence that owns a node's block also owns the blocks of its ancestors, so blocks without an owner form whole
subtrees. They are released leaf first, and least-recently-used eviction takes leaves first. Another policy can evict an
inner node; the nodes below it then go as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from llm_engine.scheduler.sequence import Sequence


@dataclass(slots=True, eq=False)
class Node:
    """One full block in the tree."""

    tokens: tuple[int, ...]
    block: int
    parent: Node | None
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)


class RadixPrefixCache:
    """A prefix cache that can also share the beginning of a block."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._root = Node((), -1, None)
        self._node_of: dict[int, Node] = {}

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        """Return the blocks of the longest cached prefix and its length, which can end inside the last block."""
        tokens, size, node = sequence.token_ids, self._block_size, self._root
        usable = sequence.num_tokens - 1  # the last token is computed for its logits
        blocks: list[int] = []
        for start in range(0, usable - size + 1, size):
            child = node.children.get(tuple(tokens[start : start + size]))
            if child is None:
                break
            node = child
            blocks.append(node.block)
        start = len(blocks) * size
        rest = tokens[start : min(start + size, usable)]
        length, block = max(
            ((_common(child.tokens, rest), child.block) for child in node.children.values()), default=(0, -1)
        )
        return (blocks, start) if length == 0 else ([*blocks, block], start + length)

    def insert(self, sequence: Sequence, first: int, last: int) -> None:
        """Add the blocks `first <= i < last` of the block table; all are full and computed.

        Stop at a block whose prefix another sequence added first: the owner of a node must own its ancestors.
        """
        node = self._node_of.get(sequence.block_table[first - 1]) if first else self._root
        for index in range(first, last):
            if node is None:
                return
            start, block = index * self._block_size, sequence.block_table[index]
            tokens = tuple(sequence.token_ids[start : start + self._block_size])
            child = node.children.get(tokens)
            if child is None:
                child = node.children[tokens] = self._node_of[block] = Node(tokens, block, node)
            node = child if child.block == block else None

    def holds(self, block: int) -> bool:
        return block in self._node_of

    def forget(self, block: int) -> list[int]:
        """Remove a block and return the blocks below it, which can no longer be found."""
        node = self._node_of[block]
        assert node.parent is not None
        del node.parent.children[node.tokens]
        gone = [below.block for below in _subtree(node)]
        for lost in gone:
            del self._node_of[lost]
        return gone[1:]

    def __len__(self) -> int:
        return len(self._node_of)


def _subtree(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children.values():
        yield from _subtree(child)


def _common(left: tuple[int, ...], right: list[int]) -> int:
    """Return the length of the common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
