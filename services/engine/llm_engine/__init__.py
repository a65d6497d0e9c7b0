"""A readable inference engine: paged KV cache, continuous batching, chunked prefill, prefix caching, OpenAI server.

    from llm_engine import LLM, SamplingParams

Read it in this order: sequence, block_pool, prefix_cache, kv_cache, scheduler (what is computed); batch, attention,
layers, decoder, sampler, model_runner (how); detokenizer, engine, async_engine, server (how it is served).
"""

from llm_engine.config import EngineConfig
from llm_engine.engine import Engine
from llm_engine.llm import LLM
from llm_engine.sampling_params import SamplingParams

__all__ = ["LLM", "Engine", "EngineConfig", "SamplingParams"]
