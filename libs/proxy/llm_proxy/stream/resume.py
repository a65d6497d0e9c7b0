"""Stream resumption: a stream whose engine died continues at another engine, which gets the prompt and the text so far.

It is sound only if the rest of the answer depends on nothing but the text before it. This holds for a single greedy or
unseeded sample. It does not hold for seeds (the random numbers would restart), penalties (they count generated tokens,
which become prompt), logprobs, `echo`, several choices, tools and structured output (the automata would restart).
`is_resumable` allows only fields that are known to be sound. `transcript.py` reads the events that the client has
received, and gives up on anything but text. The text is tokenised again at the seam. So a greedy answer can differ
there from the dead engine's, but the client gets each character once and at most `max_tokens` tokens.

A chat continues through `continue_final_message`, an extension of vLLM. An engine without it answers 400, and the
stream ends with an error event, as it would without resumption.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_contract import sse
from llm_proxy.request.endpoints import CHAT, COMPLETIONS, UNDERSTOOD
from llm_proxy.stream.token_counts import token_count
from llm_proxy.stream.transcript import NOTHING, Progress

COMPLETIONS_MAX_TOKENS = 16
"""The limit of a completion without `max_tokens`, at OpenAI and in vLLM. `null` removes it."""

SOUND = {
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "priority"),
    *("temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "ignore_eos", "user", "request_id"),
}
"""Fields that are sound with any value."""
LIMITS = ("max_completion_tokens", "max_tokens")
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "suffix": ("",),
}
"""Fields that are sound with null or with these values, which change nothing."""


def is_resumable(path: str, body: Mapping[str, Any]) -> bool:
    """Return whether the rest of the answer depends only on the text before it."""
    if body.get("stream") is not True or path not in UNDERSTOOD:
        return False
    if not isinstance(body.get("prompt"), str) if path == COMPLETIONS else not isinstance(body.get("messages"), list):
        return False
    if any(body.get(name) is not None and not token_count(body[name]) for name in LIMITS):
        return False
    greedy = body.get("temperature") == 0
    return all(
        name in SOUND or value is None or _is_neutral(name, value) or (name == "seed" and greedy)
        for name, value in body.items()
    )


def _is_neutral(name: str, value: Any) -> bool:
    """Return whether the value changes nothing. `logprobs: 0` does, although 0 == False."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in NEUTRAL.get(name, ()))


def tokens_allowed(path: str, body: Mapping[str, Any]) -> int | None:
    """Return the limit on the answer's tokens, None without one. The body must be resumable."""
    if path == COMPLETIONS:
        limit: int | None = body.get("max_tokens", COMPLETIONS_MAX_TOKENS)
        return limit
    return body.get("max_completion_tokens") or body.get("max_tokens")


@dataclass(frozen=True, slots=True)
class Continuation:
    """The request for the rest of an answer. It turns that answer's events into the rest of the client's stream."""

    body: dict[str, Any]
    progress: Progress
    tokens: int
    """Number of tokens that the client has received."""

    def rewrite(self, event: dict[str, Any]) -> bool:
        """Give an event the first engine's identity and the whole answer's usage. Return False to drop it."""
        event.update(self.progress.identity)
        usage = event.get("usage")
        if isinstance(usage, dict):
            _shift(usage, "prompt_tokens", -self.tokens)
            _shift(usage, "completion_tokens", self.tokens)
        return not (self.progress.opened and _opens_a_chat(event))


def continuation(path: str, body: Mapping[str, Any], progress: Progress, tokens: int) -> Continuation:
    """Return the request for the rest of an answer of which the client has `tokens` tokens, fewer than its limit."""
    asked = dict(body)
    limit = tokens_allowed(path, body)
    if limit is not None:
        asked["max_tokens"] = limit - tokens
        asked.pop("max_completion_tokens", None)
    if progress.text and path == COMPLETIONS:
        asked["prompt"] += progress.text
    elif progress.text:
        asked["messages"] = [*body["messages"], {"role": "assistant", "content": progress.text}]
        asked |= {"add_generation_prompt": False, "continue_final_message": True}
    return Continuation(asked, progress, tokens)


async def tokens_received(
    path: str, body: Mapping[str, Any], progress: Progress, count: Callable[[str], Awaitable[int | None]]
) -> int | None:
    """Return how many tokens the client has received, None if that is unknown and `max_tokens` depends on it.

    An event can hold several tokens, and a text can have more tokens as generated than as tokenised. `count` returns
    the number of tokens of a text by an engine's tokenizer, None if no engine answers.
    """
    if progress.finished or not progress.text:
        return 0
    if progress.tokens is not None:
        return progress.tokens
    counted = await count(progress.text)
    if counted is None and tokens_allowed(path, body) is not None:
        return None
    return max(len(progress.texts), counted or 0)


def length_reached(path: str, progress: Progress) -> bytes:
    """Return the last event of an answer whose engine died after all its tokens were sent."""
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "length"}
    if path == CHAT:
        kind, choice["delta"] = "chat.completion.chunk", {}
    else:
        kind, choice["text"] = "text_completion", ""
    return sse.encode({**progress.identity, "object": kind, "choices": [choice]})


def _shift(usage: dict[str, Any], name: str, tokens: int) -> None:
    count = token_count(usage.get(name))
    if count is not None:
        usage[name] = max(0, count + tokens)


def _opens_a_chat(event: dict[str, Any]) -> bool:
    """Return whether the event holds the role and no text."""
    choices = event.get("choices")
    return isinstance(choices, list) and bool(choices) and all(map(_names_the_role, choices))


def _names_the_role(choice: Any) -> bool:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or "role" not in delta or choice.get("finish_reason") is not None:
        return False
    return all(value in NOTHING for name, value in delta.items() if name != "role")
