"""Placeholders: token ids that stand for tokens the device is still drawing.

With overlap, the input of a decode is a token that the step before has not finished. Its position is known, its value
is not. So the sequence gets a placeholder, which names the row of the drawn tokens, and the device puts the value in
before it computes. A placeholder is a token id below 0: -1 for row 0, -2 for row 1. Only this file knows that.

SGLang calls them future tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def placeholder(row: int) -> int:
    """Return the token id that stands for the token drawn in `row` of the step in flight."""
    return -1 - row


def is_placeholder(token_id: int) -> bool:
    """Return whether the token is still being drawn."""
    return token_id < 0


def resolve(token_ids: Tensor, drawn: Tensor) -> Tensor:
    """Replace the placeholders in `token_ids` [tokens] by the tokens they stand for in `drawn` [rows]."""
    return drawn[(-1 - token_ids).clamp_(min=0)].where(token_ids < 0, token_ids)
