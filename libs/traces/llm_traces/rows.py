"""Rows of a trace, and the errors in them."""

from __future__ import annotations

from dataclasses import dataclass

MOONCAKE_BLOCK = 512
"""Prompt tokens that one of Mooncake's hash ids stands for."""


class TraceError(Exception):
    """The file cannot be used; the message names it and says why."""


class BadRowError(TraceError):
    """One row is wrong; the message names its line. Such rows can be skipped."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One recorded request."""

    at: float
    """Seconds since the trace's first request."""
    prompt_tokens: int
    output_tokens: int
    class_name: str | None = None
    blocks: tuple[int, ...] = ()
    """Ids of the prompt's blocks of MOONCAKE_BLOCK tokens: prompts that begin with the same ids share a prefix."""
    max_tokens: int | None = None
    """The limit that the request asked for; None if the trace has none."""


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The requests of a recording, by arrival."""

    rows: tuple[TraceRow, ...]
    skipped: int = 0
    """Bad rows that were left out."""
    empty: int = 0
    """Rows with 0 tokens, which are always left out."""

    @property
    def seconds(self) -> float:
        """Seconds from the first request to the last."""
        return self.rows[-1].at

    @property
    def notice(self) -> str | None:
        """Return a line for the user about rows with 0 tokens, None if there are none."""
        if not self.empty:
            return None
        total = len(self.rows) + self.skipped + self.empty
        return f"{self.empty} of the trace's {total} rows have 0 tokens, as failed requests do: they were left out"
