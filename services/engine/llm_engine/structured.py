"""Structured output: before each token, a grammar says which tokens may come next.

The grammar library (llguidance, the one vLLM offers beside xgrammar) walks a parser and the tokenizer's trie together
and answers with one bit per token; a token whose bit is 0 gets a logit of -inf. When the text is complete only the
end-of-text token is left.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from llm_engine.errors import ModelError, RequestError
from llm_engine.structured_params import PARAM, StructuredOutputs

JSON_WHITESPACE = r"[ \t\r\n]{0,8}"
"""Bounded: a small model that may write blanks for ever sometimes does."""


class Grammar:
    """One sequence's place in its grammar."""

    def __init__(self, tokenizer: LLTokenizer, source: str, vocab_size: int) -> None:
        self._matcher = LLMatcher(tokenizer, source)
        self._vocab_size = vocab_size
        self._bits = np.zeros(-(-tokenizer.vocab_size // 32), dtype=np.int32)

    def mask(self, logits: Tensor) -> None:
        """Forbid, in one row of logits [vocabulary], the tokens that cannot come next."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little").astype(bool)[: self._vocab_size]
        logits[: len(allowed)].masked_fill_(torch.from_numpy(~allowed).to(logits.device), float("-inf"))
        logits[len(allowed) :] = float("-inf")

    def accept(self, token_id: int) -> None:
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token_id)


class GrammarCompiler:
    """Grammars over one model's tokens. The tokenizer's trie is built on first use, by whichever thread asks."""

    def __init__(self, folder: Path, eos_token_ids: tuple[int, ...], vocab_size: int) -> None:
        self._folder = folder
        self._eos_token_ids = eos_token_ids
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None

    def check(self, wanted: StructuredOutputs) -> None:
        """RequestError that says what is wrong with the schema, expression or grammar."""
        is_error, messages = LLMatcher.validate_grammar_with_warnings(_source(wanted), self._trie())
        if is_error:
            raise RequestError(f"the structured output cannot be compiled: {messages[0]}", PARAM)

    def compile(self, wanted: StructuredOutputs) -> Grammar:
        return Grammar(self._trie(), _source(wanted), self._vocab_size)

    def _trie(self) -> LLTokenizer:
        if self._tokenizer is None:
            text = (self._folder / "tokenizer.json").read_text(encoding="utf-8")
            try:
                self._tokenizer = LLTokenizer(text, eos_token=list(self._eos_token_ids) or None)
            except ValueError as error:
                raise ModelError(f"structured output does not know this kind of tokenizer: {error}") from None
        return self._tokenizer


def _source(wanted: StructuredOutputs) -> str:
    try:
        if wanted.json is not None or wanted.json_object is not None:
            schema = wanted.json or '{"type": "object"}'
            return LLMatcher.grammar_from_json_schema(schema, {"whitespace_pattern": JSON_WHITESPACE})
    except ValueError as error:
        raise RequestError(f"the JSON schema is no JSON: {error}", PARAM) from None
    if wanted.grammar is not None:
        return LLMatcher.grammar_from_lark(wanted.grammar)
    return LLMatcher.grammar_from_regex(wanted.regex if wanted.regex is not None else wanted.choice_regex())
