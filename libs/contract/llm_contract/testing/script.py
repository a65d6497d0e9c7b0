"""The script of an engine for tests: its timing, and the chunks it answers with.

Time starts when the request gets a running slot. The first chunk is due after `prefill` for each prompt token and
`ttft`, each further one after the next of `gaps`; chunk i carries the next of `tokens_per_chunk` tokens. Both lists are
cycled. All times are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Literal

KV_BLOCK_SIZE = 16
"""Tokens."""
FIRST_WORD = 256
"""The token of "w0 "; those below are bytes."""
_TOKEN = re.compile(rb"w(?:0|[1-9][0-9]{0,8}) |.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    model: str = "scripted"
    ttft: float = 0.0
    gaps: tuple[float, ...] = (0.0,)
    tokens_per_chunk: tuple[int, ...] = (1,)
    max_running: int = 0
    """Requests that run at once; the others wait. 0: no limit."""
    kv_tokens: int = 0
    """Size of the KV cache: prompt tokens and tokens to generate of all running requests. 0: no limit."""
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    """Order of the requests that wait; `priority` is vLLM's, lower is sooner."""
    max_model_len: int = 2048
    """Prompt tokens plus generated ones. A generated token is one of the words "w0 ", "w1 ", …; all else is tokenised
    into UTF-8 bytes."""
    prefill: float = 0.0
    """Seconds for each prompt token that the prefix cache lacks, before `ttft` begins."""
    prefix_blocks: int = 0
    """Size of the prefix cache in KV blocks, apart from `kv_tokens`. 0: no prefix cache."""

    def __post_init__(self) -> None:
        if not self.gaps or min(*self.gaps, self.ttft, self.prefill) < 0:
            raise ValueError("ttft, prefill and gaps are seconds >= 0, with at least one gap")
        if not self.tokens_per_chunk or min(self.tokens_per_chunk) < 1:
            raise ValueError("tokens_per_chunk holds counts >= 1, at least one")
        if self.kv_tokens < 0 or self.kv_tokens % KV_BLOCK_SIZE:
            raise ValueError(f"kv_tokens is at least one block of {KV_BLOCK_SIZE} tokens, in whole blocks, or 0")

    def chunks(self, tokens: int, first: int = 0) -> Iterator[tuple[float, str, int]]:
        """Return (seconds after the start, text, number of tokens) of each chunk of an answer of `tokens` tokens.

        `first` is the number of its first word.
        """
        due, sent = 0.0, 0
        for wait, size in zip(chain((self.ttft,), cycle(self.gaps)), cycle(self.tokens_per_chunk), strict=False):
            if sent >= tokens:
                return
            due += wait
            count = min(size, tokens - sent)
            yield due, text(first + sent, count), count
            sent += count

    def duration(self, tokens: int) -> float:
        """Return the seconds from the start to the last token."""
        return max((due for due, _, _ in self.chunks(tokens)), default=0.0)


def text(first: int, count: int) -> str:
    """Return tokens `first` … `first + count - 1` of an answer: "w0 w1 w2 …"."""
    return "".join(f"w{index} " for index in range(first, first + count))


def tokenize(prompt: str) -> list[int]:
    """Return a token for each generated word and for each UTF-8 byte of anything else."""
    words = (found.group() for found in _TOKEN.finditer(prompt.encode()))
    return [FIRST_WORD + int(word[1:]) if len(word) > 1 else word[0] for word in words]


def detokenize(tokens: list[int]) -> str:
    """Return the text of token ids. Raises ValueError for an invalid token or invalid UTF-8."""
    return b"".join(_bytes(token) for token in tokens).decode()


def next_word(prompt: list[int]) -> int:
    """Return the number of the word that continues a prompt: the one after the word at its end, 0 without one."""
    return max(0, prompt[-1] - FIRST_WORD + 1) if prompt else 0


def _bytes(token: int) -> bytes:
    return text(token - FIRST_WORD, 1).encode() if token >= FIRST_WORD else bytes([token])
