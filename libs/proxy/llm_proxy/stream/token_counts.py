"""Token counts that an engine states in `usage`. Any other value in their place counts as not stated."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

MOST_TOKENS = 2**31
"""The largest count that is accepted. Databases and metrics can hold it."""


class TokenCounts(NamedTuple):
    """Prompt and output tokens of a request."""

    prompt: int
    output: int


def stated(payload: Any) -> TokenCounts | None:
    """Return the counts in an object's `usage`, None if one is missing or not a sensible integer.

    The Responses API and Anthropic's API use other names. Embeddings have no output: their total equals the prompt.
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
    """Return the counts in a JSON text, None if it is not JSON or states none."""
    try:
        return stated(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return None


def token_count(value: Any) -> int | None:
    """Return `value` if it is an integer from 0 to MOST_TOKENS, else None."""
    sensible = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if sensible else None
