"""Fails test_radix_finds_the_beginning_of_full_blocks: the earlier prompt's last block counts although it is not full.

A node of the tree is a full block. What stands in a block that is still being written is found by neither cache.
"""


def found(prompt: Prompt, earlier: Iterable[Prompt], block_size: int, kind: Kind) -> int:
    most = max((min(common(prompt, other), len(prompt) - 1) for other in earlier), default=0)
    return most if kind == "radix" else most // block_size * block_size
