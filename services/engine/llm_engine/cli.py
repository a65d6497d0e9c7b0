"""The command line: `llm-engine serve MODEL [flags]`, flags with vLLM's names.

Settings come from a YAML file (`--config`), the environment (LLM_ENGINE_…) and flags, later ones winning.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from pydantic import Field, SecretStr

from llm_contract.settings import ServiceSettings, load
from llm_engine.config import (
    AttentionBackend,
    DType,
    EngineConfig,
    LoadFormat,
    PrefixCacheKind,
    QuantizationMethod,
    SchedulingPolicy,
)
from llm_engine.errors import EngineError
from llm_engine.version import __version__

PROG = "llm-engine"
USAGE = f"""usage: {PROG} serve MODEL [flags]     serve a model over HTTP; `{PROG} serve --help` lists the flags
       {PROG} --version"""


class ServeSettings(ServiceSettings, env_prefix="LLM_ENGINE_"):
    """Serve a model over OpenAI's HTTP API."""

    model: str = Field(description="Hugging Face model folder, or a name on the hub")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    served_model_name: str | None = Field(None, description="name in the API; default: MODEL as given")
    max_model_len: int | None = Field(None, description="longest prompt + output in tokens; default: the model's")
    max_num_seqs: int = Field(64, description="most sequences in one step")
    max_num_batched_tokens: int = Field(1024, description="token budget of one step")
    block_size: int = Field(16, description="tokens in one KV block")
    num_gpu_blocks_override: int | None = Field(None, description="number of KV blocks, on any device")
    kv_cache_memory_bytes: int | None = Field(None, description="memory for the KV cache; default on a CPU: 512 MiB")
    gpu_memory_utilization: float = Field(0.9, description="share of the device's memory that is used")
    scheduling_policy: SchedulingPolicy = Field("fcfs", description="who is served first")
    enable_prefix_caching: bool = Field(True, description="share the KV of equal prefixes")
    prefix_cache: PrefixCacheKind = Field("hash", description="how equal prefixes are found")
    num_cpu_blocks: int = Field(0, description="KV blocks in host memory for preempted sequences; 0: recompute them")
    dtype: DType = Field("auto", description="type of weights and KV; auto: float32 on a CPU")
    device: str = Field("auto", description="auto, cpu or cuda")
    load_format: LoadFormat = Field("auto", description="dummy: random weights, config.json is enough")
    skip_tokenizer_init: bool = Field(False, description="prompts are token ids, outputs have no text")
    quantization: QuantizationMethod | None = Field(None, description="must be the checkpoint's; default: it is")
    attention_backend: AttentionBackend = Field("auto", description="auto: triton on a GPU, cpp or else torch on a CPU")
    enforce_eager: bool = Field(False, description="no CUDA graphs")
    async_scheduling: bool | None = Field(None, description="begin a step before the last is read; default: on a GPU")
    seed: int = Field(0, description="seeds requests that bring no seed")
    num_threads: int | None = Field(None, description="CPU threads; default: 1 for small models, else torch's")
    max_logprobs: int = Field(20, description="most log-probabilities at one place; -1: no limit")
    tensor_parallel_size: int = Field(1, description="processes that share every layer")
    pipeline_parallel_size: int = Field(1, description="stages of layers, each in a process of its own")
    log_collectives: bool = Field(False, description="log at the end what the ranks sent each other")
    speculative_config: dict[str, Any] | None = Field(
        None, description='guess tokens ahead, a JSON object: {"method": "ngram", "num_speculative_tokens": 4}'
    )
    trust_request_chat_template: bool = Field(False, description="a request may bring a chat template of its own")
    enable_tokenizer_info_endpoint: bool = Field(False, description="GET /tokenizer_info shows tokenizer_config.json")
    enable_force_include_usage: bool = Field(False, description="every event of a stream has its usage")
    return_tokens_as_token_ids: bool = Field(False, description="log-probabilities name tokens token_id:<id>")
    api_key: SecretStr | None = Field(
        None, min_length=1, description="key that requests below /v1 need; best set in the environment"
    )
    root_path: str = Field("", description="path under which a proxy in front serves this server")
    trace: str | None = Field(None, description="write what every step did to this file, as JSON lines")
    check_invariants: bool = Field(False, description="assert the bookkeeping after every step (slow)")
    debug: bool = Field(False, description="show the traceback of an error that ends the program")
    shutdown_timeout: float = Field(30, gt=0, description="seconds that running requests get when told to stop")

    def engine_config(self) -> EngineConfig:
        return EngineConfig(**{field.name: getattr(self, field.name) for field in fields(EngineConfig)})


def main(argv: Sequence[str] | None = None) -> int:
    """The process's exit status: 0 well, 1 the model cannot be served or the engine died, 2 the command is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments.pop(0) if arguments else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command == "--version":
        print(__version__)
        return 0
    if command != "serve":
        print(f"{PROG}: unknown command {command!r}\n{USAGE}", file=sys.stderr)
        return 2
    settings = load(ServeSettings, prog=f"{PROG} serve", argv=_name_positional(arguments))
    try:
        return _serve(settings)
    except Exception as error:
        if settings.debug:
            raise
        expected = isinstance(error, EngineError)
        message = str(error) if expected else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"{PROG}: {' '.join(message.split())}", file=sys.stderr)
        return 1


def _name_positional(arguments: list[str]) -> list[str]:
    """`serve MODEL …` is short for `serve --model MODEL …`."""
    if arguments and not arguments[0].startswith("-"):
        return ["--model", *arguments]
    return arguments


def _serve(settings: ServeSettings) -> int:
    # Imported late: torch takes a second, and a wrong flag should not have to wait for it.
    from llm_engine.engine import Engine
    from llm_engine.server.app import ServerOptions, build_app
    from llm_engine.server.metrics import EngineMetrics
    from llm_engine.server.serve import serve

    name = settings.served_model_name or settings.model
    metrics = EngineMetrics(name)
    options = ServerOptions(
        trust_request_chat_template=settings.trust_request_chat_template,
        enable_tokenizer_info_endpoint=settings.enable_tokenizer_info_endpoint,
        enable_force_include_usage=settings.enable_force_include_usage,
        return_tokens_as_token_ids=settings.return_tokens_as_token_ids,
        api_key=None if settings.api_key is None else settings.api_key.get_secret_value(),
        root_path=settings.root_path,
    )
    app = build_app(Engine(settings.engine_config(), [metrics]), metrics, name, options)
    app.state.intake.start()
    return serve(app, settings.host, settings.port, settings.shutdown_timeout, banner=f"{PROG}: serving {name}")
