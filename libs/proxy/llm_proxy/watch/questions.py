"""Questions of our own to an engine: its signals, whether it still produces tokens, and how many tokens a text has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from llm_proxy.stream.token_counts import token_count
from llm_proxy.upstream.client import EngineError, Upstream
from llm_proxy.upstream.signals import Signals, parse
from llm_proxy.upstream.target import Target

CANARY_TIMEOUT = 10.0
"""Seconds for one token from an engine that holds no other request of ours."""
TOKENIZE_TIMEOUT = 5.0


async def read_signals(
    upstream: Upstream, engine: Target, timeout: float, clock: Callable[[], float]
) -> Signals | None:
    """Return the engine's signals, None if it does not answer in time or does not answer with metrics."""
    try:
        status, page = await upstream.fetch(engine, "GET", "/metrics", timeout)
    except EngineError:
        return None
    return parse(page, clock()) if status == 200 else None


async def produces_tokens(
    upstream: Upstream, engine: Target, before: Signals | None, clock: Callable[[], float]
) -> bool:
    """Return whether an ejected engine works: its counters moved since `before`, or it produces a token."""
    after = await read_signals(upstream, engine, CANARY_TIMEOUT, clock)
    if before is not None and after is not None and after.generation_tokens > before.generation_tokens:
        return True
    return await _canary(upstream, engine)


async def _canary(upstream: Upstream, engine: Target) -> bool:
    try:
        _, models = await upstream.fetch(engine, "GET", "/v1/models", CANARY_TIMEOUT)
        body = {"model": orjson.loads(models)["data"][0]["id"], "prompt": "1", "max_tokens": 1}
        status, _ = await upstream.fetch(engine, "POST", "/v1/completions", CANARY_TIMEOUT, body=orjson.dumps(body))
    except (EngineError, ValueError, LookupError, TypeError):
        return False
    return status == 200


async def count_tokens(upstream: Upstream, engine: Target, model: Any, text: str) -> int | None:
    """Return the number of tokens of `text` by the engine's tokenizer, None if it does not say."""
    asked = orjson.dumps({"model": model, "prompt": text, "add_special_tokens": False})
    try:
        status, answer = await upstream.fetch(engine, "POST", "/tokenize", TOKENIZE_TIMEOUT, body=asked)
        found = orjson.loads(answer) if status == 200 else None
    except (EngineError, orjson.JSONDecodeError):
        return None
    return token_count(found.get("count")) if isinstance(found, dict) else None
