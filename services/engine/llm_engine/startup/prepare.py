"""Preparing a loaded decoder to run: its KV memory, and CUDA graphs for its decodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llm_engine.execution.decoder import DecoderModel
from llm_engine.execution.graphs import Capture, CudaCapture, DecodeGraphs, Forward
from llm_engine.kv_cache.memory import KVMemory
from llm_engine.settings import EngineConfig


def prepare(
    config: EngineConfig,
    decoder: DecoderModel,
    operators: str,
    *,
    num_blocks: int,
    max_model_len: int,
    make_capture: Callable[[], Capture] | None = None,
) -> tuple[Forward, KVMemory]:
    """Allocate KV memory for the decoder and capture CUDA graphs for its decodes, if device and backend can.

    Ranks that share a model capture at the same time, because a graph holds their collectives. The stages of a pipeline
    run without graphs. `make_capture` takes the place of CUDA's, in tests.
    """
    memory = decoder.new_kv_memory(num_blocks, config.num_cpu_blocks)
    forward: Forward = partial(decoder.forward, kv_cache=memory.device)
    if make_capture is None and decoder.device.type == "cuda" and operators == "triton":
        make_capture = CudaCapture
    if make_capture is None or config.pipeline_parallel_size > 1 or config.enforce_eager:
        return forward, memory
    graphs = DecodeGraphs(
        forward,
        make_capture(),
        config.max_num_seqs,
        max_model_len=max_model_len,
        block_size=config.block_size,
        device=decoder.device,
    )
    return graphs, memory
