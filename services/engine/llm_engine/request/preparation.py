"""Preparation of a request before it is queued, so that the engine's thread only has to queue it.

Checks, bad words and grammars can fail, and compiling a grammar can take seconds. All of that happens in the caller's
thread, so running requests are not delayed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from llm_engine.checkpoint.tokenizer import AnyTokenizer
from llm_engine.errors import RequestError
from llm_engine.request.check import RequestCheck
from llm_engine.request.choice import Choice
from llm_engine.request.detokenizer import Detokenizer
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import Sequence

if TYPE_CHECKING:
    from llm_engine.structured.grammar import GrammarCompiler


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is checked and ready to queue, once, with `Engine.enqueue`."""

    choices: list[Choice]

    @property
    def sequence(self) -> Sequence:
        """The sequence of the first answer, which computes the prompt."""
        return self.choices[0].sequence


class Preparer:
    """The preparation of requests for one engine. It reads only immutable state, so any thread can use it."""

    def __init__(self, folder: Path, tokenizer: AnyTokenizer, check: RequestCheck) -> None:
        self.check = check
        self._folder = folder
        self._tokenizer = tokenizer

    @cached_property
    def grammars(self) -> GrammarCompiler:
        from llm_engine.structured.grammar import GrammarCompiler  # a library that nothing else needs

        return GrammarCompiler(self._folder, self._tokenizer.eos_token_ids, self.check.vocab_size)

    def warm_up(self) -> None:
        """Load the tokenizer into the grammar library, if both exist."""
        with suppress(ImportError, RequestError):
            self.grammars.warm_up()

    def prepare(self, prompt_ids: list[int], params: SamplingParams, only_final: bool = False) -> Prepared:
        """Check and prepare a request. Raise RequestError if it can never be served."""
        self.check(prompt_ids, params)
        if params.stop and not self._tokenizer.has_text:
            raise RequestError("the engine runs without a tokenizer and cannot find stop strings", "stop")
        bad_words = self._tokenizer.encode_words(params.bad_words)
        grammar = None if params.structured is None else self.grammars.compile(params.structured)
        longest = min(self.check.max_model_len, len(prompt_ids) + (params.max_tokens or self.check.max_model_len))
        choices: list[Choice] = []
        for index in range(params.n):
            sequence = Sequence(
                "",
                list(prompt_ids),
                params if params.n == 1 or index == 0 else params.for_choice(index),
                index=index,
                leader=choices[0].sequence if choices else None,
                max_num_tokens=longest,
                bad_word_ids=bad_words,
                grammar=grammar if grammar is None or index == 0 else grammar.copy(),
            )
            choices.append(
                Choice(sequence=sequence, detokenizer=self._detokenizer(sequence, only_final), only_final=only_final)
            )
        return Prepared(choices)

    def _detokenizer(self, sequence: Sequence, late: bool) -> Detokenizer:
        p = sequence.params
        return Detokenizer(
            partial(self._tokenizer.decode, skip_special_tokens=p.skip_special_tokens),
            sequence.token_ids,
            p.stop,
            include_stop=p.include_stop_str_in_output,
            late=late,
            keep_pieces=p.logprobs is not None,
        )
