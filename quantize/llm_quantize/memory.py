"""Memory that runs out, as an error that says where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llm_quantize.errors import QuantizeError


@contextmanager
def explain_memory(where: str, advice: str) -> Iterator[None]:
    """Turn an allocation that fails into a QuantizeError."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not is_memory:
            raise
        raise QuantizeError(f"out of memory at {where}; {advice}") from None
