"""All settings, each defined once: name, type, default, bounds and description. Names are vLLM's where it has them.

`cli` derives flags, environment variables and the YAML file's keys from the two dataclasses, and the README's table is
this module's output:

    python -m llm_engine.settings
"""

# ruff: noqa: RUF009 - `setting` makes a field; it computes no default.
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields
from math import inf, isfinite
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from llm_engine.errors import EngineError

DType = Literal["auto", "float32", "bfloat16"]
KVCacheDType = Literal["auto", "fp8"]
AttentionBackend = Literal["auto", "torch", "triton", "cpp"]
LoadFormat = Literal["auto", "dummy"]
QuantizationMethod = Literal["compressed-tensors", "gptq", "awq"]
PrefixCacheKind = Literal["off", "hash", "radix"]
SchedulingPolicy = Literal["fcfs", "priority"]
LogFormat = Literal["text", "json"]
AccessLines = Literal["off", "errors", "all"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number."""

    at_least: float = -inf
    above: float = -inf
    at_most: float = inf

    def __contains__(self, value: float) -> bool:
        return self.at_least <= value <= self.at_most and value > self.above

    def __str__(self) -> str:
        words = {"at least": self.at_least, "above": self.above, "at most": self.at_most}
        return " and ".join(f"{word} {limit}" for word, limit in words.items() if isfinite(limit))


ANY = Bounds()
AT_LEAST_ONE = Bounds(at_least=1)


def setting(default: T, description: str, bounds: Bounds = ANY, *, secret: bool = False) -> T:
    """Declare a field with its default, help text and bounds. A secret is never printed."""
    return field(default=default, metadata={"description": description, "bounds": bounds, "secret": secret})


def check_bounds(config: EngineConfig | ServerConfig) -> None:
    """Raise EngineError for the first number that is outside its bounds; None is always allowed."""
    for each in fields(config):
        value, bounds = getattr(config, each.name), each.metadata.get("bounds", ANY)
        if bounds is not ANY and value is not None and value not in bounds:
            raise EngineError(f"{each.name} is {value}; it must be {bounds}")


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Settings of the engine itself. EngineError if they are out of range or contradict each other."""

    model: str = field(metadata={"description": "Hugging Face model folder, or a model's name on the hub"})
    _: KW_ONLY
    max_model_len: int | None = setting(
        None, "longest prompt plus output, in tokens; null: the model's own limit", AT_LEAST_ONE
    )
    max_num_seqs: int = setting(64, "most sequences in one step", AT_LEAST_ONE)
    max_num_batched_tokens: int = setting(
        1024, "token budget of one step, shared by decodes and prefill chunks", AT_LEAST_ONE
    )
    block_size: int = setting(16, "tokens in one KV block", AT_LEAST_ONE)
    num_gpu_blocks_override: int | None = setting(
        None, "exact number of KV blocks, on any device; overrides kv_cache_memory_bytes", AT_LEAST_ONE
    )
    kv_cache_memory_bytes: int | None = setting(
        None,
        "memory for the KV cache; null: on a GPU what gpu_memory_utilization leaves, on a CPU 512 MiB, or one full "
        "context if that is more",
        AT_LEAST_ONE,
    )
    gpu_memory_utilization: float = setting(
        0.9,
        "share of the device's memory (on a CPU, of the available memory) for weights, activations and KV cache",
        Bounds(above=0, at_most=1),
    )
    scheduling_policy: SchedulingPolicy = setting(
        "fcfs", "order of requests; priority: the lowest number first, ties by arrival"
    )
    enable_prefix_caching: bool = setting(True, "reuse the KV blocks of equal prefixes")
    prefix_cache: PrefixCacheKind = setting(
        "hash", "hash: find whole blocks by chained hashes; radix: walk a tree, which also shares part of a block"
    )
    num_cpu_blocks: int = setting(
        0, "KV blocks in host memory, to which preempted sequences are swapped; 0: recompute them", Bounds(at_least=0)
    )
    dtype: DType = setting(
        "auto", "type of the weights; auto: float32 on a CPU (exact), the checkpoint's type on a GPU"
    )
    kv_cache_dtype: KVCacheDType = setting(
        "auto",
        "type of the KV cache; auto: the weights'; fp8: e4m3 with the checkpoint's scales, in the torch backend only",
    )
    device: str = setting("auto", "cpu or cuda; auto: cuda if there is a GPU")
    load_format: LoadFormat = setting("auto", "dummy: random weights, for measurements with no more than a config.json")
    skip_tokenizer_init: bool = setting(False, "load no tokenizer: prompts are token ids, and outputs have no text")
    quantization: QuantizationMethod | None = setting(
        None, "quantisation of the weights; must match the checkpoint; null: read from the checkpoint"
    )
    attention_backend: AttentionBackend = setting(
        "auto", "auto: triton on a GPU; on a CPU cpp, if the type is float32 and there is a C++ compiler, else torch"
    )
    enforce_eager: bool = setting(False, "record no CUDA graphs")
    async_scheduling: bool | None = setting(
        None, "launch the next step before the last one's tokens are read; null: on a GPU, where that is possible"
    )
    seed: int = setting(0, "seed of the requests that have none")
    num_threads: int | None = setting(
        None, "CPU threads of one operator; null: 1 for small models, else torch's choice", AT_LEAST_ONE
    )
    max_logprobs: int = setting(
        20, "most log-probabilities that a request can ask for at one position; -1: no limit", Bounds(at_least=-1)
    )
    tensor_parallel_size: int = setting(1, "processes that split every layer, all on this machine", AT_LEAST_ONE)
    pipeline_parallel_size: int = setting(1, "stages of consecutive layers, each a process", AT_LEAST_ONE)
    log_collectives: bool = setting(False, "log at exit what the ranks sent each other: calls, bytes, seconds")
    speculative_config: dict[str, Any] | None = setting(
        None,
        'speculative decoding, as JSON: {"method": "ngram", "num_speculative_tokens": 4} or '
        '{"model": "models/draft", "num_speculative_tokens": 2}',
    )
    trace: str | None = setting(
        None, "file for JSON lines, several per step; their fields are in llm_engine/observers/trace.schema.json"
    )
    check_invariants: bool = setting(False, "check the scheduler's and the cache's invariants after every step; slow")

    @property
    def prefix_cache_kind(self) -> PrefixCacheKind:
        return self.prefix_cache if self.enable_prefix_caching else "off"

    @property
    def num_ranks(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def why_not_overlap(self) -> str | None:
        """The setting that rules out overlap: drafts need the tokens before the next step starts."""
        return "speculation" if self.speculative_config else None

    def overlaps(self, on_gpu: bool) -> bool:
        """Return whether a step is launched before the previous one is read."""
        return on_gpu and self.why_not_overlap is None if self.async_scheduling is None else self.async_scheduling

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.async_scheduling and (why := self.why_not_overlap):
            raise EngineError(f"async_scheduling does not work with {why}; leave one of them out")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise EngineError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is less than max_num_seqs "
                f"({self.max_num_seqs}): a step could not decode every sequence; raise the one or lower the other"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Settings of the HTTP server in front of the engine. EngineError if one is out of range."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8000, "port to listen on; 0 takes a free one", Bounds(at_least=0, at_most=65535))
    served_model_name: str | None = setting(None, "model name in the API; null: MODEL as given")
    trust_request_chat_template: bool = setting(False, "allow requests to bring a chat_template of their own")
    enable_tokenizer_info_endpoint: bool = setting(
        False, "serve tokenizer_config.json, chat template included, at GET /tokenizer_info"
    )
    enable_force_include_usage: bool = setting(
        False, "put the usage so far into every event of a stream, whether the request asks for it or not"
    )
    return_tokens_as_token_ids: bool = setting(False, "name the tokens of log-probabilities by id, as token_id:5")
    api_key: str | None = setting(
        None,
        "key that requests below /v1 need; LLM_ENGINE_API_KEY hides it from those who can list processes",
        secret=True,
    )
    otlp_traces_endpoint: str | None = setting(
        None, "URL that gets spans as OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; null: no tracing"
    )
    otlp_traces_key_file: str | None = setting(
        None, "file with the key that the receiver of spans wants, sent as Authorization: Bearer"
    )
    log_format: LogFormat = setting("text", "text, or json: one JSON object per line, with the request's trace id")
    access_log: AccessLines = setting(
        "errors", "requests that get a line in the log; errors: those with status 499 and above, or cut off"
    )
    root_path: str = setting("", "path under which a proxy in front exposes this server")
    debug: bool = setting(False, "show the traceback of an error that ends the program")
    stall_timeout: float = setting(60, "seconds of one step after which /health fails; 0: never", Bounds(at_least=0))
    shutdown_timeout: float = setting(30, "seconds that running requests have to finish after SIGTERM", Bounds(above=0))

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.api_key == "":
            raise EngineError("api_key is empty; give a key, or leave it out to serve without one")
        if self.otlp_traces_key_file is not None and not Path(self.otlp_traces_key_file).is_file():
            raise EngineError(f"otlp_traces_key_file is {self.otlp_traces_key_file}, which is no file")
        if self.otlp_traces_endpoint is not None and not _is_http_url(self.otlp_traces_endpoint):
            raise EngineError(
                f"otlp_traces_endpoint is {self.otlp_traces_endpoint!r}; it must be a URL such as "
                "http://127.0.0.1:4318/v1/traces"
            )


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def markdown_table() -> Iterator[str]:
    """Yield the lines of a table of all settings that have a default."""
    yield "| flag | default | meaning |"
    yield "| --- | --- | --- |"
    for each in (*fields(EngineConfig), *fields(ServerConfig)):
        if each.default is not MISSING:
            yield f"| `--{each.name.replace('_', '-')}` | {_shown_default(each)} | {each.metadata['description']} |"


def _shown_default(each: Field[Any]) -> str:
    if isinstance(each.default, bool):
        return "on" if each.default else "off"
    return "null" if each.default is None else str(each.default)


if __name__ == "__main__":
    print(*markdown_table(), sep="\n")
