"""The bytes of each token, read from the tokenizer's vocabulary and decoder.

Decoding to text loses them: half a UTF-8 character decodes to U+FFFD, and a leading blank is stripped.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
"""A byte, as vocabularies with byte fallback write it."""


class TokenBytes:
    """A function from token id to bytes; empty for an id that the tokenizer does not know."""

    def __init__(self, tokenizer: FastTokenizer) -> None:
        self._tokenizer = tokenizer
        self._steps = _flatten(json.loads(tokenizer.decoder.__getstate__())) if tokenizer.decoder else []
        self._kinds = {step["type"] for step in self._steps}
        self._known: dict[int, bytes] = {}

    def __call__(self, token_id: int) -> bytes:
        if token_id not in self._known:
            self._known[token_id] = self._find(token_id)
        return self._known[token_id]

    def _find(self, token_id: int) -> bytes:
        token: str | None = self._tokenizer.id_to_token(token_id)
        if token is None:
            return b""
        if "ByteLevel" in self._kinds:
            alphabet = byte_alphabet()
            return bytes(alphabet[char] for char in token) if alphabet.keys() >= set(token) else token.encode()
        if "ByteFallback" in self._kinds and (byte := BYTE_TOKEN.fullmatch(token)):
            return bytes.fromhex(byte[1])
        if self._kinds <= {"ByteFallback", "Replace", "Metaspace", "Fuse", "Strip"}:
            return self._replaced(token).encode()
        text: str = self._tokenizer.decode([token_id], skip_special_tokens=False)
        return text.encode()

    def _replaced(self, token: str) -> str:
        for step in self._steps:
            if step["type"] == "Metaspace":
                token = token.replace(step["replacement"], " ")
            elif step["type"] == "Replace" and "String" in step["pattern"]:
                token = token.replace(step["pattern"]["String"], step["content"])
        return token


@cache
def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's alphabet, character -> byte: printable bytes stand for themselves, others start at U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _flatten(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for inner in decoder["decoders"] for step in _flatten(inner)]
