"""A readable inference engine: paged KV cache, continuous batching, chunked prefill, prefix caching, OpenAI server.

    from llm_engine import LLM, SamplingParams

Read it in this order:

scheduler/     which tokens the next step computes: continuous batching, chunked prefill, preemption
kv_cache/      paged KV memory: who owns which block, and which prefixes share blocks
execution/     one step on the device: batch, decoder, CUDA graphs, model runner
sampling/      from logits to tokens and log-probabilities
request/       a request before the queue (checked, prepared) and after sampling (detokenised)
engine         all of it in one loop; server/ speaks HTTP, `llm` is for offline use

Then in any order: speculation/, structured/ (output that follows a grammar), parallel/ (tensor and pipeline
parallelism), checkpoint/ (reading a model folder), operators/ (the hot operations, in torch and as kernels), startup/,
observers/ (the step trace, invariants), metrics.
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
    """Import on first use. Torch takes a second to import; wrong flags and processes that read bodies do without it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
