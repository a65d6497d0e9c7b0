"""The bench drives the real stack, and its counts agree with the engine's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import ENVIRONMENT, MODEL, Stack, metric

TOKENS = "vllm:generation_tokens_total"
PROBE_TOKENS = 2
"""Tokens of the one request that llm-bench sends ahead of the load, to see that the target streams."""
SCENARIO = Path("bench/scenarios/mixed-priority.yaml")


def test_the_bench_counts_what_the_engine_served(stack: Stack, tmp_path: Path) -> None:
    command = (
        *(sys.executable, "-m", "llm_bench", "run", str(SCENARIO), "--target", stack.gateway.url, "--quiet"),
        *("--rate", "6", "--duration", "5", "--tokenizer", str(MODEL / "tokenizer.json"), "--out", str(tmp_path)),
    )
    before = metric(stack.engine.url, TOKENS)
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=120)
    rows = json.loads((tmp_path / "result.json").read_text())["requests"]
    assert len(rows) > 10
    assert all(row["outcome"] == "ok" for row in rows)
    counted = sum(row["output_tokens"] for row in rows)
    assert counted == metric(stack.engine.url, TOKENS) - before - PROBE_TOKENS
