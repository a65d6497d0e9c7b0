"""Fails test_the_smallest_cache_finds_everything: the prompts are sorted by length.

It groups what has one length, not what has one beginning. Between two prompts of a group stand those of all the others.
"""


def order_for_reuse(prompts: Ordered[Prompt]) -> list[int]:
    return sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
