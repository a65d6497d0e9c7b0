"""The sampler: from logits to tokens, for the whole batch at once.

The order is vLLM's: grammar, log-probabilities, bans and penalties, temperature, min-p, top-k, top-p, draw. A draw
inverts the cumulative distribution at a uniform number, which is a hash of the request's seed and the position. So a
seeded request gets the same tokens in any batch and after any preemption.

Drawing tokens and reading them are two calls: on a GPU the next step can be launched between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite

import torch
from torch import Tensor

from llm_engine.errors import EngineError, NumericalError, RequestError
from llm_engine.execution.batch import LogitRows
from llm_engine.execution.transfer import Array, HostCopy
from llm_engine.operators import logits_processors, truncation
from llm_engine.operators.rejection import Draft, accept, accept_greedy
from llm_engine.operators.truncation import DrawRows
from llm_engine.sampling import logprobs
from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.sampling.params import SamplingParams
from llm_engine.sampling.randomness import uniform_numbers
from llm_engine.scheduler.sequence import Sequence

ACCEPT_LANE, DRAFT_LANE = 1, 2
"""Series of random numbers for accepting and for drawing drafts, independent of those for tokens (lane 0)."""


@dataclass(slots=True)
class Sampled:
    """The tokens that one sequence gets from a step."""

    sequence: Sequence
    token_ids: list[int]
    """One token, or more if drafts were accepted."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each token."""
    num_drafts: int = 0
    """Drafts that were verified. All of `token_ids` but the last are accepted drafts."""
    place: int = 0
    """Position of the first token in the sequence."""

    @property
    def num_rejected(self) -> int:
        return self.num_drafts - (len(self.token_ids) - 1)


@dataclass(frozen=True, slots=True)
class Draw:
    """A handle to the tokens that a step draws. On a GPU they can still be in flight."""

    sequences: list[Sequence]
    tokens: Tensor | None
    """[sequences] The tokens on the device. None if drafts were verified: a sequence then gets several tokens."""
    read: Callable[[], list[Sampled]]
    """Wait for the tokens and return them."""


NOTHING = Draw([], None, list)


class Sampler:
    def __init__(self, eos_token_ids: tuple[int, ...], seed: int, draw_rows: DrawRows = truncation.draw) -> None:
        self._eos_token_ids = eos_token_ids
        self._seed = seed
        self._draw_rows = draw_rows

    def sample(self, logits: Tensor, wanted: list[LogitRows]) -> Draw:
        """Draw the next tokens from `logits` [rows, vocabulary], which are overwritten. `wanted` lists their owners."""
        logits, wanted = _take_prompt_rows(logits, wanted)
        if not wanted:
            return NOTHING
        for rows in wanted:
            if rows.sequence.grammar is not None:
                with rows.sequence.blamed():
                    rows.sequence.grammar.mask(logits[rows.start])
        raw = {rows.start: logits[rows.sampled].clone() for rows in wanted if rows.sequence.params.logprobs is not None}
        if any(rows.sequence.params.edits_logits for rows in wanted):
            places = (
                (rows.start + offset, offset, rows.sequence) for rows in wanted for offset in range(rows.num_sampled)
            )
            logits_processors.process(logits, places, self._eos_token_ids)
        sequences = [rows.sequence for rows in wanted]
        if len(logits) == len(wanted):
            return self._one_each(logits, sequences, raw)
        best, peaks = (
            each.tolist() for each in HostCopy(truncation.likeliest(logits), truncation.peaks(logits)).wait()
        )
        tokens = self._verify(logits, wanted, best)
        sampled = []
        for rows in wanted:
            check_peaks([rows.sequence] * rows.num_sampled, peaks[rows.sampled])
            sampled.append(_sampled(rows, tokens[rows.start], raw.get(rows.start)))
        return Draw(sequences, None, lambda: sampled)

    def distribution(self, logits: Tensor, params: list[SamplingParams]) -> Tensor:
        """Return the distribution [rows, vocabulary] that each row is drawn from."""
        return truncation.truncate(truncation.scale(logits, params), params).softmax(dim=-1)

    def draw(self, probabilities: Tensor, sequences: list[Sequence], offsets: list[int], lane: int = 0) -> list[int]:
        """Draw one token per row of `probabilities`.

        `offsets`: how many tokens stand between the sequence's last token and the row's. `lane`: see `DRAFT_LANE`.
        """
        tokens: list[int] = truncation.invert(probabilities, self.uniforms(sequences, offsets, lane)).tolist()
        return tokens

    def uniforms(self, sequences: list[Sequence], offsets: list[int], lane: int = 0) -> Array:
        seeds = [self._seed_of(sequence) ^ (lane << 62) for sequence in sequences]
        return uniform_numbers(seeds, [s.num_tokens + offset for s, offset in zip(sequences, offsets, strict=True)])

    def _one_each(self, logits: Tensor, sequences: list[Sequence], raw: dict[int, Tensor]) -> Draw:
        """Draw one token per sequence, the case without drafts. Nothing here waits for the device."""
        params = [sequence.params for sequence in sequences]
        peaks = truncation.peaks(logits)
        if all(p.is_greedy for p in params):
            tokens = truncation.likeliest(logits)
        else:
            tokens = self._draw_rows(logits, params, self.uniforms(sequences, [0] * len(sequences)))
        gathered: dict[int, HostCopy] = {}
        for row, values in raw.items():
            with sequences[row].blamed():
                gathered[row] = logprobs.gather(values, tokens[row : row + 1], params[row].logprobs or 0)
        places = [sequence.num_tokens for sequence in sequences]
        return Draw(sequences, tokens, partial(_read, HostCopy(tokens, peaks), sequences, places, gathered))

    def _verify(self, logits: Tensor, wanted: list[LogitRows], best: list[int]) -> dict[int, list[int]]:
        """Return, by the sequence's first row, the accepted draft tokens and one token after them.

        `best`: the most likely token of each row.
        """
        tokens: dict[int, list[int]] = {}
        random: list[LogitRows] = []
        for rows in wanted:
            if rows.sequence.params.is_greedy:
                drafts = rows.sequence.draft_token_ids[: rows.num_sampled - 1]
                tokens[rows.start] = accept_greedy(best[rows.sampled], drafts)
            else:
                random.append(rows)
        if random:
            picked = [row for rows in random for row in range(rows.start, rows.stop)]
            for rows, chosen in zip(random, self._reject(logits[picked], random), strict=True):
                tokens[rows.start] = chosen
        return tokens

    def _reject(self, logits: Tensor, wanted: list[LogitRows]) -> list[list[int]]:
        sequences = [rows.sequence for rows in wanted]
        probabilities = self.distribution(logits, [r.sequence.params for r in wanted for _ in range(r.num_sampled)])
        drafts, first_row = [], 0
        for rows in wanted:
            sequence, size = rows.sequence, rows.num_sampled - 1
            drafts.append(Draft(first_row, sequence.draft_token_ids[:size], sequence.draft_probabilities))
            first_row += rows.num_sampled
        places = [(s, i) for s, draft in zip(sequences, drafts, strict=True) for i in range(len(draft.token_ids))]
        uniforms = self.uniforms([s for s, _ in places], [i for _, i in places], ACCEPT_LANE).tolist()
        accepted, finals = accept(probabilities, drafts, uniforms)
        last = self.draw(finals, sequences, accepted)
        return [[*d.token_ids[:count], token] for d, count, token in zip(drafts, accepted, last, strict=True)]

    def _seed_of(self, sequence: Sequence) -> int:
        if sequence.params.seed is not None:
            return sequence.params.seed
        return self._seed * 0x9E3779B1 + sequence.arrival


def _take_prompt_rows(logits: Tensor, wanted: list[LogitRows]) -> tuple[Tensor, list[LogitRows]]:
    """Note how likely each prompt token was, and return the rows that remain: those to choose tokens from."""
    if not any(rows.num_prompt for rows in wanted):
        return logits, wanted
    kept: list[Tensor] = []
    remaining: list[LogitRows] = []
    start = 0
    for rows in wanted:
        if rows.num_prompt:
            with rows.sequence.blamed():
                _note_prompt(rows.sequence, logits[rows.prompt])
        if rows.num_sampled:
            kept.append(logits[rows.sampled])
            remaining.append(LogitRows(rows.sequence, start, 0, rows.num_sampled))
            start += rows.num_sampled
    return torch.cat(kept) if kept else logits[:0], remaining


def _note_prompt(sequence: Sequence, logits: Tensor) -> None:
    """Note the log-probabilities of prompt tokens. A prompt recomputed after preemption overwrites its old ones."""
    first = sequence.num_computed_tokens + 1
    targets = sequence.token_ids[first : first + len(logits)]
    assert sequence.params.prompt_logprobs is not None
    sequence.prompt_logprobs[first:] = logprobs.of_rows(logits, targets, sequence.params.prompt_logprobs)


def _read(copy: HostCopy, sequences: list[Sequence], places: list[int], gathered: dict[int, HostCopy]) -> list[Sampled]:
    tokens, peaks = (tensor.tolist() for tensor in copy.wait())
    check_peaks(sequences, peaks)
    sampled = []
    for row, (sequence, token, place) in enumerate(zip(sequences, tokens, places, strict=True)):
        values = None
        if row in gathered:
            with sequence.blamed():
                values = logprobs.collect(gathered[row])
        sampled.append(Sampled(sequence, [token], values, 0, place))
    return sampled


def _sampled(rows: LogitRows, token_ids: list[int], raw: Tensor | None) -> Sampled:
    count, sequence, values = rows.sequence.params.logprobs, rows.sequence, None
    if raw is not None and count is not None:
        with sequence.blamed():
            values = logprobs.of_rows(raw[: len(token_ids)], token_ids, count)
    return Sampled(sequence, token_ids, values, rows.num_sampled - 1, sequence.num_tokens)


def check_peaks(sequences: list[Sequence], peaks: list[float]) -> None:
    """Set the error of each sequence whose largest logit is not finite. NaN is the maximum of any row that holds it."""
    if all(map(isfinite, peaks)):
        return
    for sequence, peak in zip(sequences, peaks, strict=True):
        if not isfinite(peak):
            sequence.error = sequence.error or _no_distribution(peak)


def _no_distribution(peak: float) -> EngineError:
    if peak == -inf:
        return RequestError(
            "no token can come next: allowed_token_ids, bad_words, logit_bias, min_tokens and the structured output "
            "together exclude all of them"
        )
    return NumericalError(
        f"the model's logits are {'infinite' if peak == inf else 'not numbers (NaN)'}: its weights are damaged or too "
        f"large for --dtype"
    )
