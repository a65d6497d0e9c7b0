"""Fails test_the_smallest_cache_finds_everything: prompts are grouped by their first 16 tokens, and no further.

It is what a router with prefix affinity does, and it takes the first level of the tree. Inside a group the second level
still takes turns: two documents behind one system prompt evict each other.
"""


def order_for_reuse(prompts: Ordered[Prompt]) -> list[int]:
    return sorted(range(len(prompts)), key=lambda index: tuple(prompts[index][:16]))
