"""Inside the engines, ours and vLLM: latency by phase, the batch, the KV cache, speculation."""

from __future__ import annotations

from llm_contract import metrics
from llm_monitor.boards.panel import Board, Panel, Query, Section
from llm_monitor.boards.shorthand import mean, mean_of_all, percentiles, rate, share, total

_BY_ENGINE = "max by (instance) ({name}{{$engines}})"
_COARSE = "The smallest bucket ends at 0.3 s. Percentiles below it are interpolated from 0 and shown as “< 300 ms”."
_SPECULATION = "speculative decoding"

_LATENCY = (
    Panel(
        key="ttft",
        title="Time to first token",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.TIME_TO_FIRST_TOKEN.name, "engines"),
        shows="Arrival at the engine to the first token.",
        source="Histogram of the engines, requests of the window only.",
        cannot="Within a bucket the value is interpolated.",
    ),
    Panel(
        key="itl",
        title="Inter-token latency",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.INTER_TOKEN_LATENCY.name, "engines"),
        shows="Time between two tokens of a request.",
        source="Histogram of the engines, one entry a token.",
        cannot="The smallest bucket ends at 10 ms. Percentiles below it are interpolated and shown as “< 10 ms”.",
    ),
    Panel(
        key="tpot",
        title="Time per output token",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.TIME_PER_OUTPUT_TOKEN.name, "engines"),
        shows="Mean gap between the tokens of a request, the first excluded.",
        source="Histogram of the engines, one entry a finished request.",
        cannot="The smallest bucket ends at 10 ms. A request counts when it ends.",
    ),
    Panel(
        key="e2e",
        title="End to end",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.E2E_LATENCY.name, "engines"),
        shows="Arrival at the engine to the last token.",
        source="Histogram of the engines, one entry a finished request.",
        cannot=_COARSE,
    ),
    Panel(
        key="phases",
        title="Mean time by phase",
        kind="area",
        unit="seconds",
        queries=(
            Query(name="queue", expression=mean_of_all(metrics.QUEUE_TIME.name, "engines")),
            Query(name="prefill", expression=mean_of_all(metrics.PREFILL_TIME.name, "engines")),
            Query(name="decode", expression=mean_of_all(metrics.DECODE_TIME.name, "engines")),
        ),
        shows="Where a request's time goes: wait for the scheduler, prefill, decode.",
        source="Sums and counts of three histograms, so no bucket blurs it.",
        cannot="A mean hides its tail; see the percentiles.",
    ),
    Panel(
        key="queue-time",
        title="Queue time",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.QUEUE_TIME.name, "engines"),
        shows="Arrival at the engine until the scheduler first takes the request.",
        source="Histogram of the engines, one entry a finished request.",
        cannot=_COARSE,
    ),
    Panel(
        key="prefill-time",
        title="Prefill time",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.PREFILL_TIME.name, "engines"),
        shows="First scheduled to the first token.",
        source="Histogram of the engines, one entry a finished request.",
        cannot=_COARSE,
    ),
    Panel(
        key="decode-time",
        title="Decode time",
        kind="percentiles",
        unit="seconds",
        queries=percentiles(metrics.DECODE_TIME.name, "engines"),
        shows="First token to the last one.",
        source="Histogram of the engines, one entry a finished request.",
        cannot=_COARSE,
    ),
)

_BATCH = (
    Panel(
        key="tokens",
        title="Output tokens",
        unit="per_second",
        queries=(Query(expression=rate(metrics.GENERATION_TOKENS.name, "engines")),),
        shows="Tokens generated a second.",
        source="Counter of the engines, over the window.",
    ),
    Panel(
        key="prompt-tokens",
        title="Prompt tokens",
        unit="per_second",
        queries=(Query(expression=rate(metrics.PROMPT_TOKENS.name, "engines")),),
        shows="Prompt tokens processed a second.",
        source="Counter of the engines, over the window.",
        cannot="A prompt counts when it is complete, so long prompts come in jumps.",
    ),
    Panel(
        key="running",
        title="Running requests",
        unit="count",
        queries=(Query(expression=total(metrics.REQUESTS_RUNNING.name, "engines")),),
        shows="Requests in the batch.",
        source="Gauge of the engines.",
        cannot="It is the value at the scrape: a batch that lives shorter than 250 ms can be missed.",
    ),
    Panel(
        key="waiting",
        title="Waiting requests",
        unit="count",
        queries=(Query(expression=total(metrics.REQUESTS_WAITING.name, "engines")),),
        shows="Requests in the engines' queues.",
        source="Gauge of the engines.",
    ),
    Panel(
        key="step-tokens",
        title="Tokens a step",
        unit="count",
        queries=(Query(expression=mean(metrics.ITERATION_TOKENS.name, "engines")),),
        shows="Mean number of tokens of one engine step: the batch that the GPU sees.",
        source="Sum and count of a histogram, over the window.",
        cannot="A prompt counts in the step that completes it, also if its prefill took several.",
    ),
    Panel(
        key="steps",
        title="Engine steps",
        unit="per_second",
        queries=(Query(expression=rate(f"{metrics.ITERATION_TOKENS.name}_count", "engines")),),
        shows="Forward passes a second.",
        source="Count of the histogram of tokens a step.",
    ),
    Panel(
        key="lengths",
        title="Tokens a request",
        unit="count",
        queries=(
            Query(name="prompt", expression=mean(metrics.REQUEST_PROMPT_TOKENS.name, "engines")),
            Query(name="output", expression=mean(metrics.REQUEST_GENERATION_TOKENS.name, "engines")),
        ),
        shows="Mean length of prompts and of answers.",
        source="Sums and counts of two histograms, finished requests of the window.",
    ),
    Panel(
        key="finished",
        title="Requests finished, by reason",
        kind="area",
        unit="per_second",
        queries=(Query(expression=rate(metrics.REQUEST_SUCCESS.name, "engines", by="finished_reason")),),
        shows="Requests that ended, a second: stop, length, abort, error.",
        source="Counter of the engines, over the window.",
    ),
    Panel(
        key="waiting-reason",
        title="Waiting, by reason",
        kind="area",
        unit="count",
        needs="vLLM",
        queries=(Query(expression="sum by (reason) (vllm:num_requests_waiting_by_reason{$engines})"),),
        shows="Why requests wait: for capacity, or deferred by a constraint.",
        source="Gauge of vLLM.",
    ),
)

_CACHE = (
    Panel(
        key="blocks",
        title="KV blocks",
        kind="blocks",
        unit="share",
        queries=(
            Query(name="used", expression=_BY_ENGINE.format(name=metrics.KV_CACHE_USAGE.name)),
            Query(name="blocks", expression=f"{metrics.CACHE_CONFIG_INFO.name}{{$caches}}"),
            Query(
                name="hits",
                expression=share(
                    f"sum by (instance) (rate({metrics.PREFIX_CACHE_HITS.name}{{$engines}}[$window]))",
                    f"sum by (instance) (rate({metrics.PREFIX_CACHE_QUERIES.name}{{$engines}}[$window]))",
                ),
            ),
            Query(
                name="preempted",
                expression=(f"sum by (instance) (increase({metrics.PREEMPTIONS.name}{{$engines}}[$window]))"),
            ),
        ),
        shows="The KV cache of each engine as a map: blocks in use, of all; prefix hits and preemptions of the window.",
        source="Usage (a gauge) times the number of blocks (a label of vllm:cache_config_info).",
        cannot="Engines export how many blocks are in use, not which. Cells fill in order; their place means nothing.",
    ),
    Panel(
        key="kv-usage",
        title="KV cache used",
        unit="share",
        limit=0.95,
        queries=(Query(expression=_BY_ENGINE.format(name=metrics.KV_CACHE_USAGE.name)),),
        shows="Part of the blocks that requests use.",
        source="Gauge of the engines.",
        cannot="Cached prefixes that no request uses count as free.",
    ),
    Panel(
        key="prefix-hits",
        title="Prefix cache hits",
        unit="share",
        queries=(
            Query(
                expression=share(
                    rate(metrics.PREFIX_CACHE_HITS.name, "engines"), rate(metrics.PREFIX_CACHE_QUERIES.name, "engines")
                )
            ),
        ),
        shows="Part of the prompt tokens found in the prefix cache.",
        source="Two counters of the engines, over the window.",
        cannot="There is no value while no prompt arrives.",
    ),
    Panel(
        key="cached-tokens",
        title="Prompt tokens from the cache",
        unit="per_second",
        queries=(Query(expression=rate(metrics.PREFIX_CACHE_HITS.name, "engines")),),
        shows="Prompt tokens that needed no prefill, a second.",
        source="Counter of the engines, over the window.",
    ),
    Panel(
        key="preemptions",
        title="Preemptions",
        unit="per_second",
        queries=(Query(expression=rate(metrics.PREEMPTIONS.name, "engines")),),
        shows="Requests that lost their KV blocks to others, a second.",
        source="Counter of the engines, over the window.",
    ),
    Panel(
        key="evictions",
        title="Block evictions",
        unit="per_second",
        needs="vLLM with --kv-cache-metrics",
        queries=(Query(expression=rate("vllm:kv_block_lifetime_seconds_count", "engines")),),
        shows="Cached blocks given to other requests, a second.",
        source="Count of vLLM's histogram of block lifetimes.",
        cannot="vLLM samples blocks, one in a hundred unless configured otherwise.",
    ),
)

_DRAFTS = (
    Panel(
        key="acceptance",
        title="Draft tokens accepted",
        unit="share",
        needs=_SPECULATION,
        queries=(
            Query(
                expression=share(
                    rate("vllm:spec_decode_num_accepted_tokens_total", "engines"),
                    rate("vllm:spec_decode_num_draft_tokens_total", "engines"),
                )
            ),
        ),
        shows="Part of the draft tokens that the target model accepted.",
        source="Two counters of the engines, over the window.",
    ),
    Panel(
        key="accepted-length",
        title="Tokens a verification",
        unit="count",
        needs=_SPECULATION,
        queries=(
            Query(
                expression="1 + "
                + share(
                    rate("vllm:spec_decode_num_accepted_tokens_total", "engines"),
                    rate("vllm:spec_decode_num_drafts_total", "engines"),
                )
            ),
        ),
        shows="Mean number of tokens that one step of the target model yields: accepted ones and its own.",
        source="Two counters of the engines, over the window.",
    ),
)

ENGINES = Board(
    key="engines",
    title="Engines",
    filters=("model", "engine"),
    sections=(
        Section(title="Latency", panels=_LATENCY),
        Section(title="Batch", panels=_BATCH),
        Section(title="KV cache", panels=_CACHE),
        Section(title="Speculation", panels=_DRAFTS),
    ),
)
