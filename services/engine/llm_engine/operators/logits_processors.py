"""Logits processors: changes to logits before a token is drawn, in place, on the rows of requests that ask for them.

minimum length -> allowed tokens -> bad words -> bias -> penalties

The order is vLLM's, except that vLLM applies the minimum length third. The result is the same: a masked logit stays
masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.ma  # np.unique imports it when first called: 40 ms in the middle of a step
import torch
from torch import Tensor

from llm_engine.execution.transfer import Array, to_device
from llm_engine.operators.truncation import MASKED, on_host
from llm_engine.scheduler.sequence import Sequence

LARGEST = 1e30
"""Bound of a penalised logit: far beyond any logit, yet finite after division by the lowest temperature."""


def process(logits: Tensor, rows: Iterable[tuple[int, int, Sequence]], eos_token_ids: tuple[int, ...]) -> None:
    """Apply all processors to `logits` [rows, vocabulary].

    `rows`: (row, offset, sequence); `offset` is the number of drafts between the sequence's last token and the row's.
    """
    editing = [(row, offset, sequence) for row, offset, sequence in rows if sequence.params.edits_logits]
    forbid_ends(logits, editing, eos_token_ids)
    for row, _, sequence in editing:
        with sequence.blamed():
            _process_row(logits[row], sequence)


def _process_row(scores: Tensor, sequence: Sequence) -> None:
    params = sequence.params
    if params.allowed_token_ids is not None:
        keep_only(scores, params.allowed_token_ids)
    if params.bad_words:
        forbid_words(scores, sequence.bad_word_ids, sequence.token_ids[sequence.num_prompt_tokens :])
    if params.logit_bias:
        add_bias(scores, dict(params.logit_bias))
    if params.has_penalties:
        penalize(scores, sequence)


def forbid_ends(logits: Tensor, rows: Iterable[tuple[int, int, Sequence]], eos_token_ids: tuple[int, ...]) -> None:
    """Forbid end-of-text and stop tokens in answers shorter than their minimum, for all rows in one write."""
    places = [
        (row, token)
        for row, offset, sequence in rows
        if sequence.num_output_tokens + offset < sequence.params.min_tokens
        for token in (*sequence.params.stop_token_ids, *(() if sequence.params.ignore_eos else eos_token_ids))
    ]
    if not places:
        return
    at, tokens = map(list, zip(*places, strict=True))
    array = on_host(logits)
    if array is not None:
        array[at, tokens] = MASKED
    else:
        logits[tuple(to_device([np.array(at), np.array(tokens)], logits.device))] = MASKED


def keep_only(scores: Tensor, token_ids: tuple[int, ...]) -> None:
    """Forbid all other tokens in one row of logits."""
    kept = scores[list(token_ids)]
    scores.fill_(MASKED)
    scores[list(token_ids)] = kept


def forbid_words(scores: Tensor, words: list[list[int]], output: list[int]) -> None:
    """Forbid the last token of each word whose other tokens the output ends with."""
    last = [word[-1] for word in words if output[len(output) - len(word) + 1 :] == word[:-1]]
    if last:
        scores[last] = MASKED


def add_bias(scores: Tensor, bias: dict[int, float]) -> None:
    """Add each token's bias to its logit."""
    scores[list(bias)] += torch.tensor(list(bias.values()), dtype=scores.dtype, device=scores.device)


def penalize(scores: Tensor, sequence: Sequence) -> None:
    """Apply the repetition penalty to tokens of prompt and output, frequency and presence penalties to the output's.

    Sources: Keskar et al., 2019 (repetition); OpenAI's API (frequency, presence).
    """
    array = on_host(scores)
    if array is not None:
        _penalize(array, sequence, np.where, lambda values: values)
    else:
        _penalize(scores, sequence, torch.where, lambda values: torch.from_numpy(values).to(scores.device))


def _penalize(scores: Any, sequence: Sequence, where: Callable[..., Any], load: Callable[[Array], Any]) -> None:
    """Apply the penalties with numpy or torch, depending on `where` and `load`; the arithmetic is the same."""
    params = sequence.params
    if params.repetition_penalty != 1:
        seen = load(np.unique(sequence.token_ids))
        before = scores[seen]
        penalty = min(max(params.repetition_penalty, 1 / LARGEST), LARGEST)
        after = where(before > 0, before / penalty, before * penalty).clip(-LARGEST, LARGEST)
        scores[seen] = where(before == MASKED, before, after)
    output = sequence.token_ids[sequence.num_prompt_tokens :]
    if output and (params.frequency_penalty or params.presence_penalty):
        tokens, counts = np.unique(output, return_counts=True)
        penalties = params.frequency_penalty * counts + params.presence_penalty
        scores[load(tokens)] -= load(penalties.astype(np.float32))
