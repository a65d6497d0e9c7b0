"""The texts of requests: unique prompts, shared prefixes, recorded blocks, conversations.

The answers within a conversation are pieces of the corpus of the requested length, not the target's own answers. Every
byte is therefore known before the clock starts, and two targets get the same load. A prefix cache can reuse all earlier
questions and answers except the last answer, which it has not seen as a prompt yet.
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
"""More tokens than any sample has."""
TAG_ROOM = 16
"""Most tokens that the tag in front of a sample takes."""


@dataclass(slots=True, kw_only=True)
class RequestDraft:
    """A request without its text."""

    conversation: int
    class_name: str
    scheduled_at: float | None
    prompt_tokens: int = 1
    """Length of the new part."""
    max_tokens: int = 1
    follows: int | None = None
    """Index of the previous turn's draft."""
    blocks: tuple[int, ...] = ()
    think_seconds: float = 0.0
    sample: str | None = None
    """The text from a prompt file, which replaces the piece of the corpus."""


@dataclass(frozen=True, slots=True)
class Text:
    prompt: str
    tokens: int
    earlier: tuple[str, ...] = ()


def attach_samples(
    drafts: Sequence[RequestDraft], samples: PromptSamples, rng: np.random.Generator, truncate: Truncate
) -> None:
    """Give every draft a sample and its length, each sample equally often, in random order."""
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
    """Return each request's own text, without shared prefixes and earlier turns."""
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
    """Choose each draft's shared prefix, for exactly the stated share of each class's requests."""
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
