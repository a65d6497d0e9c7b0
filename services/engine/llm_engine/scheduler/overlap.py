"""Overlap scheduling: the next step is prepared and begun while the device still computes the one before.

What stands in the way is that a decode's input is the token that the step before is drawing. But only its value is
unknown, not its place: so the sequence gets a future, a token id below 0 that names a row of the drawn tokens, and the
device puts the value in when it comes to it.

    host     schedule 1 | schedule 2       | read 1, schedule 3     | read 2, …
    device              | compute 1        | compute 2              | compute 3

The price: an answer that ends with a token nobody could foresee (end of text, a stop string) is computed for one step
more, and what that step wrote is dropped. Source: SGLang's overlap scheduler; vLLM's asynchronous scheduling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm_engine.sampling.sampler import Draw
from llm_engine.scheduler.scheduler import Step


@dataclass(frozen=True, slots=True)
class InFlight:
    """A step that was begun and whose tokens have not been read."""

    step: Step
    draw: Draw

    @property
    def can_be_overtaken(self) -> bool:
        """The next step can be begun before this one's tokens are read: no grammar or penalty depends on them."""
        return not any(sequence.params.depends_on_output for sequence in self.draw.sequences)


def future(row: int) -> int:
    """The token that is drawn in this row of the step under way."""
    return -1 - row


def resolve(token_ids: Tensor, drawn: Tensor) -> Tensor:
    """Put the drawn tokens where `token_ids` has futures."""
    return torch.where(token_ids < 0, drawn[(-1 - token_ids).clamp_(min=0)], token_ids)
