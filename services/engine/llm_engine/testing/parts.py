"""Parts of an engine that tests and benchmarks look into."""

from __future__ import annotations

from typing import Any

from llm_engine.execution.decoder import DecoderModel
from llm_engine.llm import LLM


def decoder_of(llm: LLM) -> DecoderModel:
    """The main model's, of an engine without graphs."""
    forward: Any = llm.engine._runner._forward
    decoder: DecoderModel = forward.func.__self__
    return decoder
