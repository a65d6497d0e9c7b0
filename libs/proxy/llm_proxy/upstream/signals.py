"""The signals that an engine reports under /metrics, by vLLM's names, which our engine uses as well.

Only the required lines are parsed: vLLM's page has several hundred, most of them histogram buckets. One URL can stand
for several engines (data parallelism). Then counts are added up, and the fullest KV cache counts.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from llm_contract import metrics
from llm_contract.exposition import read_samples

_RUNNING = metrics.REQUESTS_RUNNING.name.encode()
_WAITING = metrics.REQUESTS_WAITING.name.encode()
_KV_USAGE = metrics.KV_CACHE_USAGE.name.encode()
_KV_USAGE_BEFORE_V1 = b"vllm:gpu_cache_usage_perc"
_CACHE_CONFIG = metrics.CACHE_CONFIG_INFO.name.encode()
_PROMPT_TOKENS = metrics.PROMPT_TOKENS.name.encode()
_GENERATION_TOKENS = metrics.GENERATION_TOKENS.name.encode()
_PREFIX_QUERIES = metrics.PREFIX_CACHE_QUERIES.name.encode()
_PREFIX_HITS = metrics.PREFIX_CACHE_HITS.name.encode()
_TTFT_SUM = metrics.TIME_TO_FIRST_TOKEN.name.encode() + b"_sum"

_WANTED = frozenset(
    (
        *(_RUNNING, _WAITING, _KV_USAGE, _KV_USAGE_BEFORE_V1, _CACHE_CONFIG, _PROMPT_TOKENS, _GENERATION_TOKENS),
        *(_PREFIX_QUERIES, _PREFIX_HITS, _TTFT_SUM),
    )
)
_BLOCKS = re.compile(rb'(?:^|,)num_gpu_blocks="(\d{1,12})"')
_BLOCK_SIZE = re.compile(rb'(?:^|,)block_size="(\d{1,9})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """One scrape. Counters start with the engine; those that it does not report are 0."""

    time: float
    """Time of the scrape on the reader's monotonic clock, seconds."""
    running: float
    waiting: float
    kv_usage: float = 0.0
    """0 to 1. Blocks that are only cached count as free."""
    kv_tokens: int = 0
    """Capacity of the KV cache; 0 if the engine does not say."""
    prompt_tokens: float = 0.0
    generation_tokens: float = 0.0
    prefix_queries: float = 0.0
    """Tokens that were looked up in the prefix cache."""
    prefix_hits: float = 0.0
    """Tokens that were found there."""
    ttft_sum: float = 0.0
    """Sum of the time to first token over all requests, from arrival at the engine, in seconds."""

    def ttft_per_prompt_token(self, before: Signals | None) -> float | None:
        """Return seconds per prompt token over requests whose first token came since `before`, None without any."""
        if before is None:
            return None
        tokens, seconds = self.prompt_tokens - before.prompt_tokens, self.ttft_sum - before.ttft_sum
        return seconds / tokens if tokens > 0 and seconds > 0 else None

    def moved(self, before: Signals) -> bool:
        """Return whether the engine has processed tokens since `before`. A restart does not count."""
        return self.generation_tokens > before.generation_tokens or self.prompt_tokens > before.prompt_tokens


def parse(page: bytes, now: float) -> Signals | None:
    """Return the signals of a /metrics page, None if it has no running requests. Skip malformed lines. Never raise."""
    values: dict[bytes, list[float]] = {}
    kv_tokens = 0
    for sample in read_samples(page.split(b"\n"), _WANTED):
        if sample.name == _CACHE_CONFIG:
            kv_tokens += _kv_tokens(sample.raw_labels)
        elif sample.value >= 0:
            values.setdefault(sample.name, []).append(sample.value)
    return _signals(values, kv_tokens, now) if _RUNNING in values else None


def _signals(values: dict[bytes, list[float]], kv_tokens: int, now: float) -> Signals:
    def total(name: bytes) -> float:
        return min(sum(values.get(name, ())), sys.float_info.max)

    return Signals(
        time=now,
        running=total(_RUNNING),
        waiting=total(_WAITING),
        kv_usage=max(values.get(_KV_USAGE) or values.get(_KV_USAGE_BEFORE_V1) or (0.0,)),
        kv_tokens=kv_tokens,
        prompt_tokens=total(_PROMPT_TOKENS),
        generation_tokens=total(_GENERATION_TOKENS),
        prefix_queries=total(_PREFIX_QUERIES),
        prefix_hits=total(_PREFIX_HITS),
        ttft_sum=total(_TTFT_SUM),
    )


def _kv_tokens(labels: bytes) -> int:
    blocks, size = _BLOCKS.search(labels), _BLOCK_SIZE.search(labels)
    return int(blocks[1]) * int(size[1]) if blocks and size else 0
