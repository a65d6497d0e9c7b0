"""A readable inference engine: paged KV cache, continuous batching, chunked prefill, prefix caching, OpenAI server.

    from llm_engine import LLM, SamplingParams

Read it in this order:

scheduler/     which tokens the next step computes: continuous batching, chunked prefill, preemption; a sequence
kv_cache/      blocks of KV memory, who owns them, and prefixes that share them
execution/     the step on the device: batch, decoder, CUDA graphs, model runner
sampling/      logits to tokens, and how likely they were
request/       a request before and after: prepared, checked, its answer detokenised
engine         all of it in one loop; server/ speaks HTTP, `llm` is for offline use

Then as you like: speculation/, structured/ (output that follows a grammar), parallel/ (tensor and pipeline
parallelism), checkpoint/ (a model's folder), operators/ (the hot operations, in torch and as kernels), startup/,
observers/ (metrics, the trace, invariants).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_engine.engine import Engine
    from llm_engine.llm import LLM
    from llm_engine.sampling.params import SamplingParams
    from llm_engine.settings import EngineConfig

__all__ = ["LLM", "Engine", "EngineConfig", "SamplingParams"]
_MODULES = {"LLM": "llm", "Engine": "engine", "EngineConfig": "settings", "SamplingParams": "sampling.params"}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes a second, and neither a wrong flag nor a process that reads bodies needs it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
