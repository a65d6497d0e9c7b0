"""From drafts of requests to their texts: unique prompts, shared prefixes, recorded blocks, conversations.

The answers within a conversation are pieces of the corpus, as long as what was asked for, not what the target said:
so every byte is known before the clock starts, and two targets are sent the same. A prefix cache can reuse all earlier
questions and answers but the last answer, which it has not seen as a prompt yet.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_bench.workload.dataset import PromptSamples
from llm_bench.workload.prompts import Prompt, Truncate, draw_prompts, named_text, tag_prompts
from llm_bench.workload.scenario import Scenario
from llm_traces import MOONCAKE_BLOCK

WHOLE = 1_000_000
"""More tokens than a sample has."""
TAG_ROOM = 16
"""Tokens that the tag in front of a sample takes at most."""


@dataclass(slots=True, kw_only=True)
class RequestDraft:
    """A request before its text is made."""

    conversation: int
    class_name: str
    scheduled_at: float | None
    prompt_tokens: int = 1
    """Length of the new part; the recorded number until the class's own is drawn."""
    max_tokens: int = 1
    follows: int | None = None
    """The turn before, as an index of the drafts."""
    blocks: tuple[int, ...] = ()
    think_seconds: float = 0.0
    sample: str | None = None
    """The text from a prompt file, which comes instead of a piece of the corpus."""


@dataclass(frozen=True, slots=True)
class Text:
    prompt: str
    tokens: int
    earlier: tuple[str, ...] = ()


def attach_samples(
    drafts: Sequence[RequestDraft], samples: PromptSamples, rng: np.random.Generator, truncate: Truncate
) -> None:
    """Gives every draft a sample, each sample as often as any other, in no order; lengths are the samples'."""
    count = len(samples.rows)
    order = np.concatenate([rng.permutation(count) for _ in range(-(-len(drafts) // count))])
    measured = {index: truncate(samples.rows[index].prompt, WHOLE)[1] for index in set(order[: len(drafts)].tolist())}
    for draft, index in zip(drafts, order, strict=False):
        sample = samples.rows[index]
        draft.sample, draft.prompt_tokens = sample.prompt, measured[int(index)] + TAG_ROOM
        draft.max_tokens = sample.output_tokens or (
            truncate(sample.answer, WHOLE)[1] if sample.answer else draft.max_tokens
        )


def compose(
    scenario: Scenario,
    drafts: Sequence[RequestDraft],
    corpus: str,
    *,
    rng: np.random.Generator,
    salt: str,
    truncate: Truncate,
) -> list[Text]:
    prefixes = _prefixes(scenario, drafts, corpus, salt, truncate=truncate)
    texts: list[Text] = []
    for draft, prefix, own in zip(
        drafts, prefixes, _own_texts(drafts, corpus, rng, salt, truncate=truncate), strict=True
    ):
        if draft.follows is None:
            texts.append(Text(prefix.text + own.text, prefix.tokens + own.tokens))
            continue
        before, asked = texts[draft.follows], drafts[draft.follows]
        answer = named_text(corpus, f"answer {len(texts)}", asked.max_tokens, salt, truncate=truncate)
        tokens = before.tokens + answer.tokens + own.tokens
        texts.append(Text(own.text, tokens, (*before.earlier, before.prompt, answer.text)))
    return texts


def _own_texts(
    drafts: Sequence[RequestDraft], corpus: str, rng: np.random.Generator, salt: str, *, truncate: Truncate
) -> list[Prompt]:
    """Without what is shared by class or was said before."""
    lengths = [draft.prompt_tokens for draft in drafts]
    if any(draft.sample is not None for draft in drafts):
        return tag_prompts([draft.sample or "" for draft in drafts], lengths, salt, truncate)
    unique = draw_prompts(corpus, lengths, rng, salt, truncate=truncate)
    blocks = {
        name: named_text(corpus, f"block {name}", MOONCAKE_BLOCK, salt, truncate=truncate)
        for name in _named_blocks(drafts)
    }
    return [
        (
            Prompt(*truncate("".join(blocks[name].text for name in draft.blocks), draft.prompt_tokens))
            if draft.blocks
            else own
        )
        for draft, own in zip(drafts, unique, strict=True)
    ]


def _named_blocks(drafts: Sequence[RequestDraft]) -> set[int]:
    return {name for draft in drafts for name in draft.blocks}


def _prefixes(
    scenario: Scenario, drafts: Sequence[RequestDraft], corpus: str, salt: str, *, truncate: Truncate
) -> list[Prompt]:
    """Choose for each draft the prefix that it shares with others, for exactly the stated share of each class's."""
    made: dict[str, Prompt] = {}
    seen: Counter[str] = Counter()
    prefixes = []
    for draft in drafts:
        shared = scenario.classes[draft.class_name].shared_prefix
        name = ""
        if shared and draft.follows is None:
            place = seen[draft.class_name]
            seen[draft.class_name] += 1
            before, now = math.floor(place * shared.share + 1e-9), math.floor((place + 1) * shared.share + 1e-9)
            name = f"{draft.class_name} {before % shared.variants}" if now > before else ""
            if name and name not in made:
                made[name] = named_text(corpus, name, shared.tokens, salt, truncate=truncate)
        prefixes.append(made[name] if name else Prompt("", 0))
    return prefixes
