"""A readable inference engine: paged KV cache, continuous batching, chunked prefill, prefix caching, OpenAI server.

    from llm_engine import LLM, SamplingParams

Read it in this order: sequence, block_pool, prefix_cache, kv_cache, scheduler (what is computed); batch, attention,
layers, decoder, sampler, model_runner (how); detokenizer, engine, async_engine, server (how it is served).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_engine.config import EngineConfig
    from llm_engine.engine import Engine
    from llm_engine.llm import LLM
    from llm_engine.sampling_params import SamplingParams

__all__ = ["LLM", "Engine", "EngineConfig", "SamplingParams"]
_MODULES = {"LLM": "llm", "Engine": "engine", "EngineConfig": "config", "SamplingParams": "sampling_params"}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes a second, and neither a wrong flag nor a process that reads bodies needs it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
