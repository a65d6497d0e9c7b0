"""Fails test_where_an_answer_is_made: the abort of the server's side, not of the core.

`AsyncLLM.abort` forgets the stream and sends a message. The request holds its blocks until the core's process has read
that message.
"""

ANSWER: dict[str, Answer] = {
    "parameters": ("sampling/params.py::SamplingParams", "vllm/sampling_params.py::SamplingParams"),
    "text": (
        "request/detokenizer.py::Detokenizer.push",
        "vllm/v1/engine/detokenizer.py::BaseIncrementalDetokenizer.update",
    ),
    "abort": ("engine.py::Engine.abort_request", "vllm/v1/engine/async_llm.py::AsyncLLM.abort"),
    "metrics": ("metrics.py::EngineMetrics", "vllm/v1/metrics/loggers.py::PrometheusStatLogger"),
}
