"""A map: where this repository's engine and vLLM do the same thing.

An answer is (ours, vLLM's). Each is `path::Symbol`, or `path::Class.method` where the question asks for a method. Paths
begin in `services/engine/llm_engine/` for ours, and with `vllm/` for vLLM's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

Answer = tuple[str, str]

ENTRANCE: dict[str, Answer] = {
    # The function that the command `… serve MODEL` begins in, after Python itself.
    # region exercise: command line
    # stub: "command line": ("", ""),
    "command line": ("cli.py::main", "vllm/entrypoints/cli/main.py::main"),
    # endregion
    # The method that takes a list of prompts in a script, without a server.
    # region exercise: offline
    # stub: "offline": ("", ""),
    "offline": ("llm.py::LLM.generate", "vllm/entrypoints/llm.py::LLM.generate"),
    # endregion
    # The handler of POST /v1/completions.
    # region exercise: completions
    # stub: "completions": ("", ""),
    "completions": (
        "server/app.py::Routes.complete",
        "vllm/entrypoints/openai/completion/api_router.py::create_completion",
    ),
    # endregion
    # The class whose fields are the engine's settings, from which the command's flags are made.
    # region exercise: settings
    # stub: "settings": ("", ""),
    "settings": ("settings.py::EngineConfig", "vllm/engine/arg_utils.py::EngineArgs"),
    # endregion
}
LOOP: dict[str, Answer] = {
    # The class between the server's event loop and the engine's: it hands each request its tokens as they come.
    # region exercise: bridge
    # stub: "bridge": ("", ""),
    "bridge": ("server/async_engine.py::AsyncEngine", "vllm/v1/engine/async_llm.py::AsyncLLM"),
    # endregion
    # The method that is one iteration: schedule, compute, take the results.
    # region exercise: step
    # stub: "step": ("", ""),
    "step": ("engine.py::Engine.step", "vllm/v1/engine/core.py::EngineCore.step"),
    # endregion
    # The method that decides which sequences this step computes, and how many tokens of each.
    # region exercise: batch
    # stub: "batch": ("", ""),
    "batch": ("scheduler/scheduler.py::Scheduler.schedule", "vllm/v1/core/sched/scheduler.py::Scheduler.schedule"),
    # endregion
    # The scheduler's method that takes a running sequence's memory away, for another one to go on.
    # region exercise: preempt
    # stub: "preempt": ("", ""),
    "preempt": (
        "scheduler/scheduler.py::Scheduler._preempt",
        "vllm/v1/core/sched/scheduler.py::Scheduler._preempt_request",
    ),
    # endregion
}
MEMORY: dict[str, Answer] = {
    # The method that finds the blocks for a running sequence's next tokens, or says that there are not enough.
    # region exercise: more room
    # stub: "more room": ("", ""),
    "more room": (
        "kv_cache/manager.py::KVCacheManager.grow",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.allocate_slots",
    ),
    # endregion
    # The pool's method that takes blocks from the free ones, and evicts cached ones if it must.
    # region exercise: free block
    # stub: "free block": ("", ""),
    "free block": (
        "kv_cache/block_pool.py::BlockPool.allocate",
        "vllm/v1/core/block_pool.py::BlockPool.get_new_blocks",
    ),
    # endregion
    # The method that finds the blocks that a new prompt shares with earlier ones. By default both go by hashes.
    # region exercise: known prefix
    # stub: "known prefix": ("", ""),
    "known prefix": (
        "kv_cache/prefix_cache.py::HashPrefixCache.match",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.get_computed_blocks",
    ),
    # endregion
    # The manager's method that gives back all blocks of a sequence that is done.
    # region exercise: give back
    # stub: "give back": ("", ""),
    "give back": (
        "kv_cache/manager.py::KVCacheManager.release",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.free",
    ),
    # endregion
}
COMPUTE: dict[str, Answer] = {
    # The function that says how many blocks fit into memory.
    # region exercise: how many blocks
    # stub: "how many blocks": ("", ""),
    "how many blocks": ("startup/sizing.py::num_blocks", "vllm/v1/core/kv_cache_utils.py::get_kv_cache_configs"),
    # endregion
    # The method that turns a schedule into tensors and runs the model on them. vLLM's is the one for a GPU.
    # region exercise: run
    # stub: "run": ("", ""),
    "run": (
        "execution/model_runner.py::ModelRunner.launch",
        "vllm/v1/worker/gpu_model_runner.py::GPUModelRunner.execute_model",
    ),
    # endregion
    # The forward pass through all layers. vLLM has a file for each family: Llama's.
    # region exercise: forward
    # stub: "forward": ("", ""),
    "forward": (
        "execution/decoder.py::DecoderModel.forward",
        "vllm/model_executor/models/llama.py::LlamaModel.forward",
    ),
    # endregion
    # The method from logits to the next tokens.
    # region exercise: next token
    # stub: "next token": ("", ""),
    "next token": ("sampling/sampler.py::Sampler.sample", "vllm/v1/sample/sampler.py::Sampler.forward"),
    # endregion
}
ANSWER: dict[str, Answer] = {
    # The class with a request's temperature, top-p, seed.
    # region exercise: parameters
    # stub: "parameters": ("", ""),
    "parameters": ("sampling/params.py::SamplingParams", "vllm/sampling_params.py::SamplingParams"),
    # endregion
    # The method that takes a new token and returns the text that is now certain. vLLM's looks for stop strings as well.
    # region exercise: text
    # stub: "text": ("", ""),
    "text": (
        "request/detokenizer.py::Detokenizer.push",
        "vllm/v1/engine/detokenizer.py::BaseIncrementalDetokenizer.update",
    ),
    # endregion
    # The method of the engine's core that ends a request whose client has gone.
    # region exercise: abort
    # stub: "abort": ("", ""),
    "abort": ("engine.py::Engine.abort_request", "vllm/v1/engine/core.py::EngineCore.abort_requests"),
    # endregion
    # The class behind GET /metrics.
    # region exercise: metrics
    # stub: "metrics": ("", ""),
    "metrics": ("metrics.py::EngineMetrics", "vllm/v1/metrics/loggers.py::PrometheusStatLogger"),
    # endregion
}


def walk(call: Callable[[], object], package: Path) -> list[str]:
    """Run the call, and return the package's functions in the order in which each was entered first.

    As `path::Class.method`, the path below `package`. Functions inside functions, lambdas and comprehensions are left
    out: their names contain `<`. Afterwards no function is watched any more, even if the call raises.
    """
    # region exercise: `sys.setprofile`; a frame's `f_code` has `co_filename` and `co_qualname`
    seen: dict[str, None] = {}

    def entered(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        name = frame.f_code.co_qualname
        if event == "call" and "<" not in name and path.is_relative_to(package):
            seen[f"{path.relative_to(package)}::{name}"] = None

    before = sys.getprofile()
    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(before)
    return list(seen)
    # endregion
