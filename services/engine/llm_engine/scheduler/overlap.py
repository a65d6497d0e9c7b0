"""Overlap scheduling: the host schedules and launches the next step while the device still computes the last one.

The next step needs tokens that the last one is still drawing. Placeholders stand for them (see `placeholders`), so the
device never idles:

    host     schedule 1 | schedule 2       | read 1, schedule 3     | read 2, …
    device              | compute 1        | compute 2              | compute 3

The price: an answer with an unforeseen end (an end-of-text token, a stop string) is computed for one step too many, and
the result of that step is dropped. Source: SGLang's overlap scheduler; vLLM's asynchronous scheduling.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_engine.sampling.sampler import Draw
from llm_engine.scheduler.scheduler import Step


@dataclass(frozen=True, slots=True)
class InFlight:
    """A step that was launched and whose tokens have not been read."""

    step: Step
    draw: Draw

    @property
    def can_be_overtaken(self) -> bool:
        """Whether the next step can be launched before this one's tokens are read.

        It cannot if a grammar or a penalty depends on them.
        """
        return not any(sequence.params.depends_on_output for sequence in self.draw.sequences)
