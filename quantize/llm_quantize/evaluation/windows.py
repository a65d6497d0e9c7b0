"""Loss, accuracy and KL of every token of a text, from one pass in windows that do not overlap.

This is the protocol of published perplexities: the documents in one row of tokens, windows of 2,048. An item is a piece
of at most 256 tokens of one document within one window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.model import Loaded, predictions, token_row
from llm_quantize.evaluation.reference import Reference
from llm_quantize.evaluation.scores import ScoreList, Scores, item_name

WINDOW = 2048
PIECE = 256
FEWEST_DOCUMENTS = 20
"""With fewer documents than this, their spread says little, and each piece is resampled by itself."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Positions first … last - 1 of the row, predicted in one window; they belong to one document."""

    window: int
    first: int
    last: int
    document: int


def score_windows(
    loaded: Loaded,
    text: str,
    *,
    reference: Reference | None = None,
    predict: Callable[[Tensor], Tensor] | None = None,
    items: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Scores]:
    """Return `perplexity`, `next-token` and, against a reference, `kl`.

    `predict`: returns the model's logits for each token of a window but its first; None: `predictions`.
    `items`: at most about this many pieces, in windows that are spread evenly over the text.
    """
    row, documents = token_row(loaded, text)
    predict = predict or partial(predictions, loaded)
    if reference is not None and reference.row(text) != row:
        raise EvaluationError(
            f"{reference.folder.name} and {loaded.folder.name} have different tokens; KL needs one tokenizer"
        )
    width = min(WINDOW, loaded.context) - len(loaded.start)
    pieces = cut_pieces(documents, width)
    windows = spread_windows(pieces, items)
    found = {name: ScoreList(name) for name in ("perplexity", "next-token", *(["kl"] if reference else []))}
    for number, window in enumerate(windows):
        if progress:
            progress("perplexity", number, len(windows))
        begin = window * width
        ids = torch.tensor(row[begin : begin + width + 1])
        logits = predict(ids)
        expected = reference.predictions(ids) if reference else None
        for piece in (piece for piece in pieces if piece.window == window):
            part = slice(piece.first - begin - 1, piece.last - begin - 1)
            name, size = item_name(row[piece.first : piece.last], [piece.first]), piece.last - piece.first
            values = _measure(logits[part], ids[1:][part], None if expected is None else expected[part])
            for benchmark, value in values.items():
                found[benchmark].add(name, value, weight=size, group=f"document {piece.document}")
    return {name: scores.finish(FEWEST_DOCUMENTS) for name, scores in found.items()}


def cut_pieces(documents: Sequence[int], width: int) -> list[Piece]:
    """Cut the positions from 1 on into pieces that cross no window, no document, and have at most PIECE tokens."""
    pieces: list[Piece] = []
    first = 1
    for place in range(2, len(documents) + 1):
        is_end = place == len(documents) or (place - 1) % width == 0 or documents[place] != documents[first]
        if is_end or place - first == PIECE:
            pieces.append(Piece((first - 1) // width, first, place, documents[first]))
            first = place
    return pieces


def spread_windows(pieces: Sequence[Piece], items: int | None) -> list[int]:
    """Return the windows to run: all of them, or evenly spread ones with about `items` pieces together."""
    windows = sorted({piece.window for piece in pieces})
    if items is None or items >= len(pieces):
        return windows
    count = max(1, round(items * len(windows) / len(pieces)))
    return [windows[int((place + 0.5) * len(windows) / count)] for place in range(count)]


def _measure(logits: Tensor, targets: Tensor, expected: Tensor | None) -> dict[str, float]:
    """Return a piece's mean scores: [n, vocabulary] logits, [n] targets, [n, vocabulary] logits of the full model."""
    targets = targets.to(logits.device)
    log_p = torch.log_softmax(logits, dim=-1)
    losses = -log_p.gather(1, targets[:, None])[:, 0]
    found = {
        "perplexity": float(losses.double().mean()),
        "next-token": float((logits.argmax(dim=-1) == targets).double().mean()),
    }
    if expected is not None:
        log_q = torch.log_softmax(expected.to(logits.device), dim=-1)
        found["kl"] = float((log_q.exp() * (log_q - log_p)).sum(dim=-1).double().mean())
    return found
