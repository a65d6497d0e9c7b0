"""The cost of tracing: an engine with spans against one without, under the same load in turn.

    .venv/bin/python services/engine/benchmarks/server/tracing.py [--rounds 8]

The model is the zoo's llama: its steps take about a millisecond, so a request's spans weigh more than with any model
that is used. Every request is sampled. The CPU time per token is compared as well as the tokens per second, because a
shared machine changes its speed within seconds and CPU time follows that less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.measure import MODELS, environment, rounded, save

from llm_measure.processes import ROOT, Server, python
from llm_measure.span_sink import span_sink

CONNECTIONS, MAX_TOKENS, SECONDS = 16, 64, 4.0
TOKENS, SPANS = "vllm:generation_tokens_total", "llm_spans_total"


def engine(*flags: str) -> tuple[str, ...]:
    model = str(MODELS / "zoo" / "llama")
    return ("-m", "llm_engine", "serve", model, "--served-model-name", "main", "--port", "0", *flags)


def load(server: Server) -> tuple[float, float]:
    """Load the engine for some seconds. Return (tokens per second, CPU microseconds per token)."""
    tokens, cpu = server.metric(TOKENS), server.cpu_seconds()
    sizes = ("--connections", str(CONNECTIONS), "--max-tokens", str(MAX_TOKENS), "--seconds", str(SECONDS))
    command = (sys.executable, "-m", "llm_measure.load", server.url, "closed", *sizes)
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    made = server.metric(TOKENS) - tokens
    return found["per_second"] * MAX_TOKENS, (server.cpu_seconds() - cpu) / made * 1e6


def compared(pairs: list[tuple[float, float]]) -> dict[str, object]:
    """Return the medians of (on, off), and the median and the range of the ratio within a round."""
    on, off = zip(*pairs, strict=True)
    ratios = [traced / plain for traced, plain in pairs]
    medians = {"on": rounded(statistics.median(on)), "off": rounded(statistics.median(off))}
    return {
        **medians,
        "ratio": rounded(statistics.median(ratios)),
        "range": [rounded(min(ratios)), rounded(max(ratios))],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    rounds, setting = parser.parse_args().rounds, environment()
    with span_sink() as url, python(*engine()) as off, python(*engine("--otlp-traces-endpoint", url)) as on:
        pairs = []
        for number in range(rounds + 1):
            first, second = (off, on) if number % 2 else (on, off)
            found = {server is on: load(server) for server in (first, second)}
            pairs.append((found[True], found[False]))
        spans = on.metric(SPANS)
    pairs = pairs[1:]  # the first round warms both up
    result = {
        "model": "zoo/llama",
        "connections": CONNECTIONS,
        "max_tokens": MAX_TOKENS,
        "rounds": rounds,
        "spans": spans,
        "tokens_per_second": compared([(traced[0], plain[0]) for traced, plain in pairs]),
        "cpu_us_per_token": compared([(traced[1], plain[1]) for traced, plain in pairs]),
    }
    print(json.dumps(result, indent=2))
    save("tracing", {**setting, **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
