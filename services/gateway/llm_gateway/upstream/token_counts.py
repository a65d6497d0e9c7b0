"""Token counts as an engine states them in `usage`; whatever else stands in their place counts as not stated."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

MOST_TOKENS = 2**31
"""A larger count is nonsense; databases and metrics hold this one."""


class TokenCounts(NamedTuple):
    prompt: int
    output: int


def stated(payload: Any) -> TokenCounts | None:
    """Return the counts of an object's `usage`, None if one of them is missing or no sensible integer.

    The Responses API and Anthropic's have other names for them. Embeddings have no output, and a total that says so.
    """
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt = token_count(usage.get("prompt_tokens", usage.get("input_tokens")))
    output = token_count(usage.get("completion_tokens", usage.get("output_tokens")))
    if output is None and prompt is not None and prompt == token_count(usage.get("total_tokens")):
        output = 0
    return None if prompt is None or output is None else TokenCounts(prompt, output)


def stated_in(raw: bytes) -> TokenCounts | None:
    """The same for bytes that may be anything."""
    try:
        return stated(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return None


def token_count(value: Any) -> int | None:
    """Return `value` if it is an integer from 0 to MOST_TOKENS, else None."""
    sensible = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sensible else None
