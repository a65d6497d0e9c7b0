"""Log-probabilities as JSON: OpenAI's two formats, and vLLM's format for the prompt.

A token's name is the text that it adds to the text before it. So the names of an answer's tokens join to its text, and
`text[offset : offset + len(name)]` is the name. If several tokens make one character, the last one has the whole
character as its name and the others have "". `bytes` are the token's own bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import Any

from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.sampling.logprobs import TokenLogprobs

LEAST = -9999.0
"""OpenAI's number for minus infinity, which JSON cannot represent."""
LONGEST_CHARACTER = 4
"""Most bytes of a character in UTF-8, so also the most tokens of a character."""

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True)
class Place:
    """A token in its text, with the log-probabilities at its position."""

    token: int
    text: str
    """The text that the token adds."""
    logprobs: TokenLogprobs | None
    names: dict[int, str]
    """The names of the token and of all in `logprobs`."""

    @property
    def logprob(self) -> float | None:
        return None if self.logprobs is None else max(self.logprobs[self.token].logprob, LEAST)


class PlaceReader:
    """A reader that names the tokens of one text, part by part."""

    def __init__(self, tokenizer: AnyTokenizer, before: Sequence[int] = (), as_token_ids: bool = False) -> None:
        """Start after the tokens `before`. With `as_token_ids`, names have the form `token_id:5`."""
        self._bytes_of = tokenizer.token_bytes
        self._as_token_ids = as_token_ids
        self._unfinished = b""
        for token in before[-LONGEST_CHARACTER:]:
            self._step(token)

    def read(
        self,
        tokens: Iterable[int],
        logprobs: Iterable[TokenLogprobs | None],
        texts: Iterable[str | None] = repeat(None),
    ) -> list[Place]:
        """Return the places of the next tokens. `texts`: the text each token adds; None: decode its bytes."""
        places = []
        for token, at, text in zip(tokens, logprobs, texts, strict=False):
            adds = self._added(token) if text is None else text
            places.append(Place(token, adds, at, {token: self._name(token, adds)} | self._others(token, at)))
            self._step(token)
        return places

    def _others(self, chosen: int, at: TokenLogprobs | None) -> dict[int, str]:
        return {token: self._name(token, self._added(token)) for token in at or () if token != chosen}

    def _name(self, token: int, text: str) -> str:
        return f"token_id:{token}" if self._as_token_ids else text

    def _added(self, token: int) -> str:
        return _Utf8Decoder("replace").decode(self._unfinished + self._bytes_of(token))

    def _step(self, token: int) -> None:
        decoder = _Utf8Decoder("replace")
        decoder.decode(self._unfinished + self._bytes_of(token))
        self._unfinished = decoder.getstate()[0]


def of_completion(places: Sequence[Place], count: int, offset: int) -> dict[str, Any]:
    """Format for completions: the chosen and the `count` most likely tokens.

    `offset`: number of characters before the first token's text.
    """
    ends = list(accumulate((len(place.text) for place in places), initial=offset))
    return {
        "text_offset": ends[:-1],
        "token_logprobs": [place.logprob for place in places],
        "tokens": [place.names[place.token] for place in places],
        "top_logprobs": [_top_by_name(place, count) for place in places],
    }


def of_chat(places: Sequence[Place], count: int, bytes_of: Callable[[int], bytes]) -> dict[str, Any]:
    """Format for chats: the chosen and the `count` most likely tokens."""

    def entry(place: Place, token: int) -> dict[str, Any]:
        assert place.logprobs is not None
        logprob = max(place.logprobs[token].logprob, LEAST)
        return {"token": place.names[token], "logprob": logprob, "bytes": list(bytes_of(token))}

    content = []
    for place in places:
        likeliest = list(place.logprobs or ())
        top = likeliest if count == -1 else likeliest[:count]
        content.append({**entry(place, place.token), "top_logprobs": [entry(place, token) for token in top]})
    return {"content": content}


def of_prompt(places: Sequence[Place]) -> list[dict[str, Any] | None]:
    """Format for prompts: one entry per token. The first one has no log-probability."""
    return [None if place.logprobs is None else _with_ranks(place, place.logprobs) for place in places]


def _with_ranks(place: Place, at: TokenLogprobs) -> dict[str, Any]:
    return {
        str(token): {
            "logprob": max(value.logprob, LEAST),
            "rank": value.rank,
            "decoded_token": place.names[token],
        }
        for token, value in at.items()
    }


def _top_by_name(place: Place, count: int) -> dict[str, float] | None:
    """Map names to log-probabilities. If tokens share a name, the chosen one wins, else the most likely one."""
    if place.logprobs is None:
        return None
    items = list(place.logprobs.items())
    top: dict[str, float] = {}
    for token, value in items if count == -1 else items[: count + 1]:
        top.setdefault(place.names[token], max(value.logprob, LEAST))
    return top
