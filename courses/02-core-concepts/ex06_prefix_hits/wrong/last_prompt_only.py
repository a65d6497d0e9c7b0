"""Fails test_conversations_take_turns: only the prompt just before is searched.

The cache keeps every conversation; a turn of one is looked up after turns of all the others.
"""


def predicted(prompts: Ordered[Prompt], block_size: int, kind: Kind) -> Hits:
    pairs = zip(prompts, prompts[1:], strict=False)  # noqa: RUF007
    hits = sum(found(prompt, [before], block_size, kind) for before, prompt in pairs)
    return Hits(sum(map(len, prompts)), hits)
