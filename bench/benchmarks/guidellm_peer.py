"""guidellm as a peer: its environment, from a lock of its own, and one run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson

from llm_measure.peers import Peer
from llm_measure.processes import ROOT

PEER = Peer("guidellm")
"""About 1.5 GB."""
MODEL = ROOT / "models" / "main"
"""Folder of the model whose tokenizer makes its prompts."""
CONCURRENCY = 256
"""Requests that its `throughput` keeps running: what 2,000 a second would need on the fake server, and half more."""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """As guidellm reports it."""

    asked: float
    """Requests per second; 0: as many as it can keep running."""
    workers: int
    sent: float
    """Requests per second that ended well."""
    ttft_p50: float
    """Seconds, counted from its send."""
    failed: int

    @property
    def kept(self) -> float:
        """Return the share of the requested rate that was sent."""
        return self.sent / self.asked if self.asked else 1.0


def run(url: str, rate: float, seconds: float, workers: int) -> PeerRun:
    """Run guidellm with Poisson arrivals: synthetic prompts of 16 tokens, 16 tokens of output.

    `rate` 0 selects its `throughput` profile, which keeps CONCURRENCY requests running."""
    profile = f"kind=poisson,rate={rate:g}" if rate else f"kind=throughput,max_concurrency={CONCURRENCY}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            (
                *(PEER.program("guidellm"), "run", "--disable-console", "--profile", profile),
                *("--backend", f"kind=openai_http,target={url}"),
                *("--constraint", f"kind=max_duration,seconds={seconds:g}"),
                *("--data", "kind=synthetic_text,prompt_tokens=16,output_tokens=16"),
                *("--tokenizer", f"kind=hf_auto,model={MODEL}"),
                *("--output", f"kind=json,path={report}"),
            ),
            env={**os.environ, "GUIDELLM__MAX_WORKER_PROCESSES": str(workers), "HF_HUB_OFFLINE": "1"},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        measured = orjson.loads(report.read_bytes())["benchmarks"][0]
    metrics = measured["metrics"]
    return PeerRun(
        asked=rate,
        workers=workers,
        sent=metrics["requests_per_second"]["successful"]["mean"],
        ttft_p50=metrics["time_to_first_token_ms"]["successful"]["median"] / 1e3,
        failed=measured["scheduler_metrics"]["requests_made"]["errored"],
    )
