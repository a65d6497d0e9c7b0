"""The figures of one model on one machine."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from llm_quantize.errors import EvaluationError

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFigures:
    """Figures with `batch` requests in flight at all times; seconds, and tokens per second."""

    batch: int
    ttft: Spread
    """Median time to first token."""
    tpot: Spread
    """Median time per output token after the first."""
    output_tokens_per_second: Spread
    requests: int
    """Requests that ended well, over all runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A model's size, and its speed behind one server."""

    name: str
    weight_bytes: int | None
    """Size on disk; None for a server by URL, whose files are not at hand."""
    resident_bytes: int | None
    """Most memory that the server's processes held, KV cache included; None for a server by URL."""
    device: str
    """The machine's CPU, or the URL of the server."""
    server: str
    runs: int
    batches: list[BatchFigures]
    notes: list[str]
    """Reasons why the load generator would not vouch for a run."""

    def at(self, batch: int) -> BatchFigures | None:
        return next((one for one in self.batches if one.batch == batch), None)

    def to_json(self) -> str:
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Performance:
        """Return what `to_json` wrote; EvaluationError if the text is something else."""
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError("it is of another version of llm-quantize")
            batches = [_batch(one) for one in values.pop("batches")]
            return cls(**values, batches=batches)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(f"this is no performance measurement of llm-quantize: {error}") from error


def _batch(values: dict[str, Any]) -> BatchFigures:
    return BatchFigures(
        batch=values["batch"],
        ttft=Spread(**values["ttft"]),
        tpot=Spread(**values["tpot"]),
        output_tokens_per_second=Spread(**values["output_tokens_per_second"]),
        requests=values["requests"],
    )
