"""Fails test_where_the_loop_turns: vLLM's paths are those of its first engine.

Most articles describe it. Since version 0.11 it is gone: the engine that runs is below `vllm/v1`, and `vllm/engine`
holds the arguments and a few old names.
"""

LOOP: dict[str, Answer] = {
    "bridge": ("server/async_engine.py::AsyncEngine", "vllm/engine/async_llm_engine.py::AsyncLLMEngine"),
    "step": ("engine.py::Engine.step", "vllm/engine/llm_engine.py::LLMEngine.step"),
    "batch": ("scheduler/scheduler.py::Scheduler.schedule", "vllm/core/scheduler.py::Scheduler.schedule"),
    "preempt": ("scheduler/scheduler.py::Scheduler._preempt", "vllm/core/scheduler.py::Scheduler._preempt"),
}
