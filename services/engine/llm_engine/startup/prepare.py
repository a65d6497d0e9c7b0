"""Preparing a loaded decoder to run: its KV memory, and CUDA graphs for its decodes."""

from __future__ import annotations

from functools import partial

from llm_engine.execution.decoder import DecoderModel
from llm_engine.execution.graphs import CudaCapture, DecodeGraphs, Forward
from llm_engine.kv_cache.memory import KVMemory
from llm_engine.settings import EngineConfig


def prepare(
    config: EngineConfig, decoder: DecoderModel, operators: str, *, num_blocks: int, max_model_len: int
) -> tuple[Forward, KVMemory]:
    """Allocate KV memory for the decoder and capture CUDA graphs for its decodes, if device and backend can.

    Ranks that share a model capture at the same time, because a graph holds their collectives. The stages of a pipeline
    run without graphs.
    """
    memory = decoder.new_kv_memory(num_blocks, config.num_cpu_blocks)
    forward: Forward = partial(decoder.forward, kv_cache=memory.device)
    can_capture = decoder.device.type == "cuda" and operators == "triton" and config.pipeline_parallel_size == 1
    if not can_capture or config.enforce_eager:
        return forward, memory
    graphs = DecodeGraphs(
        forward,
        CudaCapture(),
        config.max_num_seqs,
        max_model_len=max_model_len,
        block_size=config.block_size,
        device=decoder.device,
    )
    return graphs, memory
