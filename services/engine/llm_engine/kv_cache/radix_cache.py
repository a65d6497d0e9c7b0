"""The prefix cache as a radix tree: which block holds the KV of which prefix, an alternative to chained hashes.

    root ── [import os\n…] ── [def main():…] ── …
                           └─ [class A:…]

Each node is one full block; its path from the root spells the prefix. A walk finds the longest prefix without hashing,
and where it ends inside a block it still uses that block's beginning: the sequence shares it and copies it on its
first write. Source: SGLang's RadixAttention (Zheng et al., 2024), here with edges of one block.

Whoever owns a node's block owns those of its ancestors, so blocks that nobody owns form whole subtrees. They are
released leaf first, and least-recently-used eviction takes leaves first; another policy may take an inner node, and
what is below goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from llm_engine.scheduler.sequence import Sequence


@dataclass(slots=True, eq=False)
class Node:
    tokens: tuple[int, ...]
    block: int
    parent: Node | None
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)


class RadixPrefixCache:
    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._root = Node((), -1, None)
        self._node_of: dict[int, Node] = {}

    def match(self, sequence: Sequence) -> tuple[list[int], int]:
        """The blocks that hold the longest cached prefix, and its tokens; of the last block maybe only some."""
        tokens, size, node = sequence.token_ids, self._block_size, self._root
        usable = sequence.num_tokens - 1  # one is left to compute, for its logits
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
        """Make the blocks `first <= i < last` of the table, full and computed, known.

        Nothing goes below a block that another sequence made known first: a node's owner must own its ancestors.
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
        """The block is about to be overwritten; the blocks below it, which nobody can find any more."""
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
    """Length of the common beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
