"""Structured output: before each token, a grammar determines which tokens can come next.

The grammar library is llguidance, which vLLM offers next to xgrammar. It walks a parser and the tokenizer's trie
together and returns one bit per token. A token whose bit is 0 gets a logit of -inf. When the text is complete, only the
end-of-text token is allowed.

The library does not raise. A matcher that hits a limit or a dead end enters an error state in which it allows the end
of the text. So every call is followed by a check for that state: a text that was cut off must not pass for a complete
one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread, stack_size

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor

from llm_engine.errors import RequestError
from llm_engine.structured.json_schema import without_unknown_formats
from llm_engine.structured.params import PARAM, StructuredOutputs

JSON_WHITESPACE = r"[ \t\r\n]{0,8}"
"""Whitespace between JSON tokens. It is bounded, because small models can write blanks without end."""
COMPILER_STACK_BYTES = 512 * 2**20
"""Address space for the compiler's recursion: a chain of 5,000 references overflows the usual 8 MiB and crashes the
process. Only the part that is used takes memory."""
LIMITS = LLParserLimits(
    initial_lexer_fuel=200_000, step_max_items=10_000, step_lexer_fuel=100_000, verbose_errors=False
)
"""Limits for the mask of one token, about 10 ms, because masks are computed between the steps of all requests. The
initial limit bounds the size of the lexer and with it the time of each mask: `a{1000000}` took 65 ms per token."""


class Grammar:
    """One sequence's position in its grammar. Methods raise RequestError if the matcher gives up."""

    def __init__(self, matcher: LLMatcher, num_words: int, vocab_size: int) -> None:
        self._matcher = matcher
        self._num_words = num_words
        self._vocab_size = vocab_size
        self._bits = np.zeros(num_words, dtype=np.int32)

    def copy(self) -> Grammar:
        """Return an independent copy for another answer."""
        return Grammar(self._matcher.deep_copy(), self._num_words, self._vocab_size)

    def compute_mask(self) -> None:
        """Find the tokens that can come next. The first call is the slowest, because it builds the lexer's states."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._raise_if_failed()

    def mask(self, logits: Tensor) -> None:
        """Mask the tokens that cannot come next in one row of logits [vocabulary]."""
        self.compute_mask()
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little").astype(bool)[: self._vocab_size]
        logits[: len(allowed)].masked_fill_(torch.from_numpy(~allowed).to(logits.device), float("-inf"))
        logits[len(allowed) :] = float("-inf")

    def accept(self, token_id: int) -> None:
        """Advance by one token."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token_id)
            self._raise_if_failed()

    def _raise_if_failed(self) -> None:
        if self._matcher.is_error():
            why = " ".join(self._matcher.get_error().replace("<non-verbose/>", "").split())
            raise RequestError(f"the structured output cannot be followed: {EXPLAINED.get(why, why)}", PARAM)


EXPLAINED = {
    "NoExtensionBias": "no text can satisfy it",
}
"""Error of the library -> plain words."""


class GrammarCompiler:
    """A compiler of grammars over one model's tokens. The first use builds the tokenizer's trie, in any thread."""

    def __init__(self, folder: Path, eos_token_ids: tuple[int, ...], vocab_size: int) -> None:
        self._folder = folder
        self._eos_token_ids = eos_token_ids
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None
        self._one_at_a_time = Lock()

    def compile(self, wanted: StructuredOutputs) -> Grammar:
        """Compile a grammar. RequestError if it does not compile or if no text can satisfy it.

        It can take seconds, most of them without the interpreter lock.
        """
        grammars: list[Grammar] = []
        errors: list[Exception] = []

        def compile() -> None:
            try:
                grammars.append(self._compile(wanted))
            except Exception as error:  # noqa: BLE001 - carried to the caller's thread
                errors.append(error)

        _run_on_a_deep_stack(compile)
        if errors:
            raise errors[0]
        return grammars[0]

    def warm_up(self) -> None:
        """Build the trie, which holds the interpreter lock for long. RequestError if the tokenizer is not supported."""
        with self._one_at_a_time:
            self._trie()

    def _compile(self, wanted: StructuredOutputs) -> Grammar:
        with self._one_at_a_time:
            trie = self._trie()
        try:
            source = _source(wanted)
        except ValueError as error:  # such as a schema that is nested too deeply for the library
            raise RequestError(f"the structured output cannot be compiled: {error}", PARAM) from None
        matcher = LLMatcher(trie, source, log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise RequestError(f"the structured output cannot be compiled: {matcher.get_error()}", PARAM)
        grammar = Grammar(matcher, -(-trie.vocab_size // 32), self._vocab_size)
        grammar.compute_mask()
        return grammar

    def _trie(self) -> LLTokenizer:
        if self._tokenizer is None:
            path = self._folder / "tokenizer.json"
            if not path.is_file():
                raise RequestError("structured output needs a tokenizer, and the engine runs without one", PARAM)
            try:
                text = path.read_text(encoding="utf-8")
                self._tokenizer = LLTokenizer(text, eos_token=list(self._eos_token_ids) or None)
            except ValueError as error:
                raise RequestError(
                    f"structured output does not support this model's tokenizer: {error}", PARAM
                ) from None
        return self._tokenizer


def _source(wanted: StructuredOutputs) -> str:
    if wanted.json is not None:
        schema = without_unknown_formats(wanted.json)
        return LLMatcher.grammar_from_json_schema(schema, {"whitespace_pattern": JSON_WHITESPACE})
    if wanted.json_object is not None:
        return LLMatcher.grammar_from_json_schema({"type": "object"}, {"whitespace_pattern": JSON_WHITESPACE})
    if wanted.grammar is not None:
        return LLMatcher.grammar_from_lark(wanted.grammar)
    return LLMatcher.grammar_from_regex(wanted.regex if wanted.regex is not None else wanted.choice_regex())


_STACK_SIZE = Lock()
"""Guards `stack_size`, a setting of the whole process."""


def _run_on_a_deep_stack(target: Callable[[], None]) -> None:
    with _STACK_SIZE:
        usual = stack_size(COMPILER_STACK_BYTES)
        try:
            thread = Thread(target=target, name="grammar", daemon=True)
            thread.start()
        finally:
            stack_size(usual)
    thread.join()
