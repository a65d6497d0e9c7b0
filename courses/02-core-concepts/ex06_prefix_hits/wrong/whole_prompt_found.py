"""Fails test_a_repeated_prompt_computes_its_last_block: an equal prompt is found to its last token.

The engine would have KV for every token and logits for none. The hash cache gives up a whole block for one token.
"""


def found(prompt: Prompt, earlier: Iterable[Prompt], block_size: int, kind: Kind) -> int:
    most = max((common(prompt, other[: len(other) // block_size * block_size]) for other in earlier), default=0)
    return most if kind == "radix" else most // block_size * block_size
