"""The interface of the policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

from llm_router.fleet.engine import Engine

LOAD = attrgetter("load")
"""The cost of an engine: the requests that it holds."""


@dataclass(frozen=True, slots=True)
class Routed:
    """The facts about a request that a policy can use."""

    prefix: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks. Two prompts with equal hashes up to index i are equal up to block i."""
    session: str | None = None
    prompt_tokens: int = 0
    """Predicted."""


class Policy:
    """A rule that chooses an engine for a request."""

    wants_prefix: ClassVar[bool] = False
    """It reads `Routed.prefix`, which costs time to compute."""

    def choose(self, engines: Sequence[Engine], request: Routed) -> Engine:
        """Return one of `engines`. There is at least one, and all have room."""
        raise NotImplementedError

    def forget(self, engine: Engine) -> None:
        """Drop all knowledge of an engine that was ejected or delisted."""
