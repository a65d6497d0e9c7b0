"""From logits to tokens, for the whole batch at once.

Order as in vLLM: grammar, log-probabilities, bans and penalties, temperature, min-p, top-k, top-p, draw. A draw inverts
the cumulative distribution at one uniform number, and that number is a hash of (the request's seed, the position): a
seeded request gets the same tokens whatever else is in the batch, and after preemption.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from llm_engine import logits_processors, logprobs
from llm_engine.batch import LogitRows
from llm_engine.logprobs import TokenLogprobs
from llm_engine.rejection import Draft, accept, accept_greedy
from llm_engine.sampling_params import SamplingParams
from llm_engine.sequence import Sequence

MASKED = float("-inf")
ACCEPT_LANE, DRAFT_LANE = 1, 2


@dataclass(slots=True)
class Sampled:
    """What a sequence gets from a step."""

    sequence: Sequence
    token_ids: list[int]
    """One, or more if draft tokens were right."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each token."""
    num_drafts: int = 0
    """Draft tokens that were verified; all but one of `token_ids` are among them."""

    @property
    def num_rejected(self) -> int:
        return self.num_drafts - (len(self.token_ids) - 1)


class Sampler:
    def __init__(self, eos_token_ids: tuple[int, ...], seed: int) -> None:
        self._eos_token_ids = eos_token_ids
        self._seed = seed

    def sample(self, logits: Tensor, wanted: list[LogitRows]) -> list[Sampled]:
        """`logits` [rows, vocabulary], which may be overwritten; `wanted` says whose they are."""
        logits = _report_prompt(logits, wanted)
        wanted = [rows for rows in wanted if rows.num_sampled]
        if not wanted:
            return []
        starts = list(accumulate((rows.num_sampled for rows in wanted), initial=0))
        for start, rows in zip(starts, wanted, strict=False):
            if rows.sequence.grammar is not None:
                rows.sequence.grammar.mask(logits[start])
        raw = {
            start: logits[start : start + rows.num_sampled].clone()
            for start, rows in zip(starts, wanted, strict=False)
            if rows.sequence.params.logprobs is not None
        }
        if any(rows.sequence.params.edits_logits for rows in wanted):
            places = (
                (start + offset, offset, rows.sequence)
                for start, rows in zip(starts, wanted, strict=False)
                for offset in range(rows.num_sampled)
            )
            logits_processors.process(logits, places, self._eos_token_ids)
        tokens = self._choose(logits, starts, wanted)
        return [
            _sampled(rows, chosen, raw.get(start)) for start, rows, chosen in zip(starts, wanted, tokens, strict=False)
        ]

    def distribution(self, logits: Tensor, params: list[SamplingParams]) -> Tensor:
        """[rows, vocabulary] What each row is drawn from; none of the rows is greedy."""
        logits = logits.float() / _column([p.temperature for p in params], logits)
        return truncate(logits, params).softmax(dim=-1)

    def draw(self, probabilities: Tensor, sequences: list[Sequence], offsets: list[int], lane: int = 0) -> list[int]:
        """One token for each row; `offsets`: tokens between the sequence's last one and the row's. A lane is a series
        of numbers of its own, for drafts."""
        uniforms = self.uniforms(sequences, offsets, lane)
        cumulative = probabilities.cumsum(dim=-1)
        # Scaled by the last sum, which rounding keeps off 1; strictly above, so that no token of probability 0 is hit.
        targets = torch.from_numpy(uniforms).to(cumulative).unsqueeze(-1) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, targets, right=True).squeeze(-1)
        last_possible = cumulative.argmax(dim=-1)  # the first place of the final sum
        tokens: list[int] = torch.minimum(drawn, last_possible).tolist()
        return tokens

    def uniforms(self, sequences: list[Sequence], offsets: list[int], lane: int = 0) -> np.ndarray:
        seeds = [self._seed_of(sequence) ^ (lane << 62) for sequence in sequences]
        return uniform_numbers(seeds, [s.num_tokens + offset for s, offset in zip(sequences, offsets, strict=True)])

    def _choose(self, logits: Tensor, starts: list[int], wanted: list[LogitRows]) -> list[list[int]]:
        best = logits.argmax(dim=-1).tolist()
        tokens: list[list[int]] = []
        random: list[tuple[int, LogitRows]] = []
        for start, rows in zip(starts, wanted, strict=False):
            if not rows.sequence.params.is_greedy:
                random.append((len(tokens), rows))
            drafts = rows.sequence.draft_token_ids[: rows.num_sampled - 1]
            tokens.append(accept_greedy(best[start : start + rows.num_sampled], drafts))
        if random:
            picked = [row for index, rows in random for row in range(starts[index], starts[index] + rows.num_sampled)]
            chosen = self._draw(logits if len(picked) == len(logits) else logits[picked], [rows for _, rows in random])
            for (index, _), new in zip(random, chosen, strict=True):
                tokens[index] = new
        return tokens

    def _draw(self, logits: Tensor, wanted: list[LogitRows]) -> list[list[int]]:
        sequences = [rows.sequence for rows in wanted]
        probabilities = self.distribution(logits, [r.sequence.params for r in wanted for _ in range(r.num_sampled)])
        if len(logits) == len(wanted):  # no drafts
            return [[token] for token in self.draw(probabilities, sequences, [0] * len(wanted))]
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


def _report_prompt(logits: Tensor, wanted: list[LogitRows]) -> Tensor:
    """Note how likely each prompt token was, for those who asked; the rows that remain are there to choose from."""
    if not any(rows.num_prompt for rows in wanted):
        return logits
    kept, start = [], 0
    for rows in wanted:
        middle = start + rows.num_prompt
        if rows.num_prompt:
            _note_prompt(rows.sequence, logits[start:middle])
        kept.append(logits[middle : middle + rows.num_sampled])
        start = middle + rows.num_sampled
    return torch.cat(kept)


def _note_prompt(sequence: Sequence, logits: Tensor) -> None:
    """A prompt that starts again after preemption overwrites what it noted before."""
    first = sequence.num_computed_tokens + 1
    targets = sequence.token_ids[first : first + len(logits)]
    assert sequence.params.prompt_logprobs is not None
    sequence.prompt_logprobs[first:] = logprobs.of_rows(logits, targets, sequence.params.prompt_logprobs)


def _sampled(rows: LogitRows, token_ids: list[int], raw: Tensor | None) -> Sampled:
    count = rows.sequence.params.logprobs
    told = None if raw is None or count is None else logprobs.of_rows(raw[: len(token_ids)], token_ids, count)
    return Sampled(rows.sequence, token_ids, told, rows.num_sampled - 1)


def truncate(logits: Tensor, params: Rows[SamplingParams]) -> Tensor:
    """Mask what min-p, top-k and top-p exclude, in that order; rows that ask for none are left as they are."""
    logits = _mask_min_p(logits, params)
    rows = [row for row, p in enumerate(params) if p.top_k > 0 or p.top_p < 1]
    if not rows:
        return logits
    masked = _mask_top_k_top_p(logits[rows], [params[row] for row in rows])
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), masked)


def _mask_min_p(logits: Tensor, params: Rows[SamplingParams]) -> Tensor:
    """Keep tokens at least `min_p` times as likely as the likeliest."""
    if not any(p.min_p for p in params):
        return logits
    floor = logits.amax(dim=-1, keepdim=True) + _column([p.min_p for p in params], logits).log()
    return logits.masked_fill(logits < floor, MASKED)


def _mask_top_k_top_p(logits: Tensor, params: Rows[SamplingParams]) -> Tensor:
    """Keep the k likeliest, and of these the fewest that reach probability p together (Holtzman et al., 2020)."""
    size = logits.shape[-1]
    ordered, order = logits.sort(dim=-1, descending=True)
    k = torch.tensor([p.top_k if 0 < p.top_k < size else size for p in params], device=logits.device).unsqueeze(-1)
    ordered = ordered.masked_fill(torch.arange(size, device=logits.device) >= k, MASKED)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    top_p = _column([p.top_p for p in params], logits)
    ordered = ordered.masked_fill((before >= top_p) & (top_p < 1), MASKED)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


def uniform_numbers(seeds: list[int], positions: list[int]) -> np.ndarray:
    """One number in [0, 1) for each (seed, position): SplitMix64 (Steele et al., 2014), 53 bits."""
    mask = (1 << 64) - 1
    state = np.array([seed & mask for seed in seeds], dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = _splitmix64(_splitmix64(state) + np.array(positions, dtype=np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix64(state: np.ndarray) -> np.ndarray:
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).unsqueeze(-1)
