"""Token replay: a stream whose engine died continues at another one, which gets the prompt and the text so far.

Sound only where the rest of the answer depends on nothing but the text before it. That holds for one greedy or unseeded
sample; it does not for seeds (their random numbers would start anew), penalties (they count generated tokens, which
become prompt), logprobs, `echo`, several choices, tools and structured output (their automata would start anew).
`is_resumable` allows the fields that are known to be sound, and no others. `transcript.py` reads what the client has,
and gives up on anything but text. The text is tokenised again at the seam, so a greedy answer may differ there from
what the dead engine would have said; the client gets each character once, and `max_tokens` tokens at most.

A chat is continued with `continue_final_message`, vLLM's own extension; an engine without it answers 400, and the
stream ends with an error event as it would have without replay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_gateway.proxy.transcript import NOTHING, Progress
from llm_gateway.request.endpoints import COMPLETIONS, UNDERSTOOD
from llm_gateway.upstream.token_counts import token_count

COMPLETIONS_MAX_TOKENS = 16
"""OpenAI's default, and vLLM's: what a completion without `max_tokens` gets. `null` lifts it."""

SOUND = {
    *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "priority"),
    *("temperature", "top_p", "top_k", "min_p", "stop", "stop_token_ids", "ignore_eos", "user", "request_id"),
}
"""Fields with any value."""
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
"""Fields with a value, beside null, that changes nothing."""


def is_resumable(path: str, body: Mapping[str, Any]) -> bool:
    """Whether the rest of this answer depends on the text before it only."""
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
    """`logprobs: 0` asks for something, though 0 == False."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in NEUTRAL.get(name, ()))


def tokens_allowed(path: str, body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that the answer may have, None without a limit. The body is a resumable one."""
    if path == COMPLETIONS:
        limit: int | None = body.get("max_tokens", COMPLETIONS_MAX_TOKENS)
        return limit
    return body.get("max_completion_tokens") or body.get("max_tokens")


@dataclass(frozen=True, slots=True)
class Continuation:
    """The rest of a request, and how its answer becomes the rest of the client's stream."""

    body: dict[str, Any]
    progress: Progress
    tokens: int
    """Tokens of the text that the client has."""

    def rewrite(self, event: dict[str, Any]) -> bool:
        """Give an event the first engine's identity and the whole answer's usage. False: the client has had it."""
        event.update(self.progress.identity)
        usage = event.get("usage")
        if isinstance(usage, dict):
            _shift(usage, "prompt_tokens", -self.tokens)
            _shift(usage, "completion_tokens", self.tokens)
        return not (self.progress.opened and _opens_a_chat(event))


def continuation(path: str, body: Mapping[str, Any], progress: Progress, tokens: int) -> Continuation:
    """Return the request that goes on after the text so far, `tokens` tokens of which at least one is left."""
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


def _shift(usage: dict[str, Any], name: str, tokens: int) -> None:
    count = token_count(usage.get(name))
    if count is not None:
        usage[name] = max(0, count + tokens)


def _opens_a_chat(event: dict[str, Any]) -> bool:
    """Whether the event only names the role."""
    choices = event.get("choices")
    return isinstance(choices, list) and bool(choices) and all(map(_names_the_role, choices))


def _names_the_role(choice: Any) -> bool:
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict) or "role" not in delta or choice.get("finish_reason") is not None:
        return False
    return all(value in NOTHING for name, value in delta.items() if name != "role")
