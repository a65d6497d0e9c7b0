"""Log-probabilities of continuations: how likely a model finds each way to go on from a context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from llm_quantize.evaluation.model import Loaded


def continuation_scores(loaded: Loaded, context: str, options: Sequence[str]) -> list[tuple[float, int]]:
    """Return the log-probability of each option after the context, in nats, and its number of tokens.

    Context and option are cut into tokens together, since a token can span both. All options are scored from the last
    token that they and the context share, which is computed once: its keys and values serve all of them.
    """
    before = [*loaded.start, *loaded.tokens(context)]
    rows = [[*loaded.start, *loaded.tokens(context + option)] for option in options]
    room = loaded.context - max(len(row) for row in rows)
    if room < 0:  # the end of the context is the part that matters
        before, rows = before[-room:], [row[-room:] for row in rows]
    shared = max(1, shared_length([before, *rows]))
    rests = [row[shared:] for row in rows]
    with torch.inference_mode():
        prefix = torch.tensor([rows[0][:shared]], device=loaded.device)
        begun = loaded.model(input_ids=prefix, use_cache=True, logits_to_keep=1)
        cache = begun.past_key_values
        cache.batch_repeat_interleave(len(rests))
        width = max(map(len, rests))
        padded = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests], device=loaded.device)
        first = begun.logits[:, -1:].expand(len(rests), 1, -1)
        later = loaded.model(input_ids=padded[:, :-1], past_key_values=cache).logits if width > 1 else first[:, :0]
        logits = torch.cat([first, later], dim=1).float()
    counts = list(map(len, rests))
    return [(_sum(row, ids, count), count) for row, ids, count in zip(logits, padded, counts, strict=True)]


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all rows have in common at their start."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False)))


def _sum(logits: Tensor, targets: Tensor, count: int) -> float:
    log_p = torch.log_softmax(logits[:count], dim=-1)
    return float(log_p.gather(1, targets[:count, None]).double().sum())
