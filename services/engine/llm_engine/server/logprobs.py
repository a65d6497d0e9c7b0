"""Log-probabilities as JSON: OpenAI's two shapes, and vLLM's for the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llm_engine.logprobs import TokenLogprobs

Decode = Callable[[int], str]
"""A token's own text."""

LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot write: OpenAI's number."""


def of_completion(
    token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs | None], count: int, decode: Decode, offset: int
) -> dict[str, Any]:
    """`count` likeliest beside the chosen token; `offset`: characters before the first token's text."""
    tokens = [decode(token) for token in token_ids]
    offsets = [offset]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "text_offset": offsets[: len(tokens)],
        "token_logprobs": [
            None if at is None else _finite(at[token].logprob) for token, at in zip(token_ids, logprobs, strict=True)
        ],
        "tokens": tokens,
        "top_logprobs": [None if at is None else _top_by_text(at, count, decode) for at in logprobs],
    }


def of_chat(token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs], count: int, decode: Decode) -> dict[str, Any]:
    content = []
    for token, at in zip(token_ids, logprobs, strict=True):
        top = list(at) if count == -1 else list(at)[:count]
        entries = [_entry(other, at, decode) for other in top]
        content.append({**_entry(token, at, decode), "top_logprobs": entries})
    return {"content": content}


def of_prompt(logprobs: Sequence[TokenLogprobs | None], decode: Decode) -> list[dict[str, Any] | None]:
    """One for each prompt token; nothing is known of the first."""
    return [
        (
            None
            if at is None
            else {
                str(token): {"logprob": _finite(value.logprob), "rank": value.rank, "decoded_token": decode(token)}
                for token, value in at.items()
            }
        )
        for at in logprobs
    ]


def _top_by_text(at: TokenLogprobs, count: int, decode: Decode) -> dict[str, float]:
    tokens = list(at) if count == -1 else list(at)[: count + 1]
    return {decode(token): _finite(at[token].logprob) for token in tokens}


def _entry(token: int, at: TokenLogprobs, decode: Decode) -> dict[str, Any]:
    text = decode(token)
    return {"token": text, "logprob": _finite(at[token].logprob), "bytes": list(text.encode("utf-8", errors="replace"))}


def _finite(logprob: float) -> float:
    return max(logprob, LEAST)
