"""Private parts of an engine that tests and benchmarks read."""

from __future__ import annotations

from typing import Any

from llm_engine.execution.decoder import DecoderModel
from llm_engine.llm import LLM


def decoder_of(llm: LLM) -> DecoderModel:
    """Return the main model's decoder. The engine must not use CUDA graphs."""
    forward: Any = llm.engine._runner._forward
    decoder: DecoderModel = forward.func.__self__
    return decoder
