"""All settings of the engine, checked once, at construction; flag names are vLLM's."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from llm_engine.errors import EngineError

DType = Literal["auto", "float32", "bfloat16"]
AttentionBackend = Literal["auto", "torch", "triton", "cpp"]
LoadFormat = Literal["auto", "dummy"]
QuantizationMethod = Literal["compressed-tensors", "gptq", "awq"]
PrefixCacheKind = Literal["off", "hash", "radix"]
SchedulingPolicy = Literal["fcfs", "priority"]

AT_LEAST_ONE = (
    *("max_num_seqs", "max_num_batched_tokens", "block_size", "tensor_parallel_size", "pipeline_parallel_size"),
    *("max_model_len", "num_gpu_blocks_override", "kv_cache_memory_bytes", "num_threads"),
)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    model: str
    """A Hugging Face model folder, or a name on the hub."""
    _: KW_ONLY
    max_model_len: int | None = None
    """Longest prompt + output in tokens; None: what the model was trained for."""
    max_num_seqs: int = 64
    """Most sequences in one step."""
    max_num_batched_tokens: int = 1024
    """The token budget of one step, decodes and prefill chunks together."""
    block_size: int = 16
    """Tokens in one KV block."""
    num_gpu_blocks_override: int | None = None
    """Exact number of KV blocks on any device; overrides `kv_cache_memory_bytes`."""
    kv_cache_memory_bytes: int | None = None
    """Memory for the KV cache; None: on a GPU all that `gpu_memory_utilization` leaves, on a CPU 512 MiB, or one full
    context if that is more."""
    gpu_memory_utilization: float = 0.9
    """Share of the device's memory (on a CPU: of what is available) for weights, activations and KV cache together."""
    scheduling_policy: SchedulingPolicy = "fcfs"
    enable_prefix_caching: bool = True
    prefix_cache: PrefixCacheKind = "hash"
    """How prefixes are found: by chained hashes of blocks, or in a tree, which also shares a part of a block."""
    num_cpu_blocks: int = 0
    """KV blocks in host memory, to which preempted sequences are swapped; 0: they are computed again."""
    dtype: DType = "auto"
    """auto: float32 on a CPU (exact), the checkpoint's own type on a GPU."""
    device: str = "auto"
    """auto: cuda where there is one, else cpu."""
    load_format: LoadFormat = "auto"
    """dummy: random weights, for measurements without a checkpoint; config.json is enough then."""
    skip_tokenizer_init: bool = False
    """Prompts are token ids, and outputs have no text."""
    quantization: QuantizationMethod | None = None
    """How the weights are quantised; None: as the checkpoint says, with which it must agree."""
    attention_backend: AttentionBackend = "auto"
    """auto: triton on a GPU, torch on a CPU."""
    enforce_eager: bool = False
    """On a GPU: no CUDA graphs."""
    async_scheduling: bool | None = None
    """Begin a step before the one before is read: see `overlap`. None: on a GPU, where nothing forbids it."""
    seed: int = 0
    """Seeds the requests that bring no seed of their own."""
    num_threads: int | None = None
    """CPU threads of one operator; None: one for small models, else torch's default."""
    max_logprobs: int = 20
    """Most log-probabilities that a request may ask for at one place; -1: the whole vocabulary."""
    tensor_parallel_size: int = 1
    """Processes that share every layer."""
    pipeline_parallel_size: int = 1
    """Stages of consecutive layers, each in a process of its own."""
    log_collectives: bool = False
    """Log at the end what the ranks sent each other: calls, bytes, seconds."""
    speculative_config: dict[str, Any] | None = None
    """Guess tokens ahead: see `speculation`."""
    trace: str | None = None
    """File that gets a line of JSON for each step: see `trace`."""
    check_invariants: bool = False
    """Assert the cache's and the scheduler's invariants after every step; slow, for tests and for hunting defects."""

    @property
    def prefix_cache_kind(self) -> PrefixCacheKind:
        return self.prefix_cache if self.enable_prefix_caching else "off"

    @property
    def num_ranks(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size

    @property
    def why_not_overlap(self) -> str | None:
        """Guesses follow from tokens, and other ranks are sent them: both would know the next inputs too late."""
        return "speculation" if self.speculative_config else "several ranks" if self.num_ranks > 1 else None

    def overlaps(self, on_gpu: bool) -> bool:
        """A step is begun before the one before is read."""
        return on_gpu and self.why_not_overlap is None if self.async_scheduling is None else self.async_scheduling

    def __post_init__(self) -> None:
        for name in AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise EngineError(f"{name} is {value}; it must be at least 1")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise EngineError(f"gpu_memory_utilization is {self.gpu_memory_utilization}; it must be over 0, at most 1")
        if self.async_scheduling and (why := self.why_not_overlap):
            raise EngineError(f"async_scheduling does not go with {why}; leave one of them out")
        if self.max_logprobs < -1:
            raise EngineError(f"max_logprobs is {self.max_logprobs}; it must be at least 0, or -1 for no limit")
        if self.num_cpu_blocks < 0:
            raise EngineError(f"num_cpu_blocks is {self.num_cpu_blocks}; it must be at least 0")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise EngineError(
                f"max_num_batched_tokens ({self.max_num_batched_tokens}) is less than max_num_seqs "
                f"({self.max_num_seqs}): a step could not decode every sequence; raise the one or lower the other"
            )
