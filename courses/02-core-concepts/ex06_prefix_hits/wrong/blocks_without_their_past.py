"""Fails test_documents_in_another_order: a block counts as found wherever its tokens stood before.

Keys and values depend on all tokens before them. The same document behind another one has another KV, so two documents
in two orders share nothing.
"""


def found(prompt: Prompt, earlier: Iterable[Prompt], block_size: int, kind: Kind) -> int:
    if kind == "radix":
        known = (other[: len(other) // block_size * block_size] for other in earlier)
        return max((min(common(prompt, other), len(prompt) - 1) for other in known), default=0)
    seen = {
        tuple(other[start : start + block_size])
        for other in earlier
        for start in range(0, len(other) - block_size + 1, block_size)
    }
    starts = range(0, len(prompt) - block_size, block_size)
    return block_size * sum(tuple(prompt[start : start + block_size]) in seen for start in starts)
