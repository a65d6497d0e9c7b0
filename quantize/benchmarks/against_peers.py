"""Ours against llm-compressor: equal bits, groups and calibration tokens; perplexity of the same held-out text.

    python quantize/benchmarks/against_peers.py                       # models/main
    python quantize/benchmarks/against_peers.py models/smollm2 --text prompts.txt

Each program runs in a process of its own on one thread. CPU seconds and the peak of memory are the process's, with its
imports; seconds count from before the model is loaded until it is written. Differences of perplexity are paired: token
by token against the peer, with an interval over blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm_measure import results
from llm_measure.peers import Peer
from llm_measure.processes import ENVIRONMENT
from llm_quantize import Record, load_dequantized
from llm_quantize.calibration import read_sequences
from llm_quantize.settings import Calibration

PEER = Peer("quantizers")
PEER_SCRIPT = Path(__file__).with_name("llmcompressor_peer.py")
HELD_OUT = Path("models/eval/heldout.txt")
BLOCK = 64
"""Tokens to a block, whose mean differences are taken as independent."""
THREADS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@dataclass(frozen=True)
class Cost:
    """A process's cost."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def main() -> int:
    asked = _arguments()
    PEER.install()
    settings = Calibration(samples=asked.samples, length=asked.length, seed=asked.seed)
    sequences = read_sequences(asked.model, settings)
    rows = _held_out(asked.model, asked.text, asked.tokens, asked.window)
    full = nll(asked.model, rows)
    found: dict[str, Any] = {
        "model": asked.model.name,
        "text": asked.text.name,
        "held_out_tokens": rows.numel(),
        "calibration": settings.model_dump(mode="json") | {"source": sequences.source},
        "peer": {"llmcompressor": PEER.version("llmcompressor")},
        "machine": results.machine(),
        "full": {"perplexity": _perplexity(full)},
        "methods": {},
    }
    for method in asked.methods:
        with tempfile.TemporaryDirectory() as scratch:
            ours, theirs = Path(scratch) / "ours", Path(scratch) / "theirs"
            costs = {
                "ours": run_ours(asked, method, ours),
                "llmcompressor": run_theirs(asked, method, theirs, sequences.tokens),
            }
            losses = {"ours": nll(ours, rows), "llmcompressor": nll(theirs, rows)}
        found["methods"][method] = {
            name: {"perplexity": _perplexity(losses[name]), **asdict(costs[name])} for name in costs
        } | {"difference": paired(losses["ours"], losses["llmcompressor"])}
        _show(method, found["methods"][method])
    path = results.write(__file__, found) if asked.out is None else asked.out
    if asked.out is not None:
        path.write_text(json.dumps(found, indent=2) + "\n")
    print(path)
    return 0


def run_ours(asked: argparse.Namespace, method: str, out: Path) -> Cost:
    command = [sys.executable, "-m", "llm_quantize", "quantize", str(asked.model), "--method", method]
    if method in ("rtn", "gptq"):
        command += ["--group-size", str(asked.group_size)]
    calibration = ("--samples", str(asked.samples), "--length", str(asked.length), "--seed", str(asked.seed))
    cpu_seconds, _ = run([*command, *calibration, "--out", str(out)])
    record = Record.read(out)
    return Cost(record.seconds, cpu_seconds, record.peak_bytes)


def run_theirs(asked: argparse.Namespace, method: str, out: Path, tokens: Tensor) -> Cost:
    job = out.with_suffix(".json")
    job.write_text(
        json.dumps(
            {
                "model": str(asked.model),
                "out": str(out),
                "method": method,
                "group_size": asked.group_size,
                "tokens": tokens.tolist(),
            }
        )
    )
    cpu_seconds, said = run([PEER.program("python"), str(PEER_SCRIPT), str(job)])
    told = json.loads(said.splitlines()[-1])
    return Cost(round(told["seconds"], 3), cpu_seconds, told["peak_bytes"])


def run(command: list[str]) -> tuple[float, str]:
    """Run a program to its end, and return its CPU seconds and what it printed. SystemExit if it fails."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT | THREADS, stdout=printed, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        printed.seek(0)
        if process.returncode:
            raise SystemExit(f"{command} failed: {errors.read()[-3000:].decode(errors='replace')}")
        return round(used.ru_utime + used.ru_stime, 2), printed.read().decode()


def nll(folder: Path, rows: Tensor) -> Tensor:
    """Return the negative log-likelihood of each token but the first of each window: [tokens]."""
    model = load_dequantized(folder)
    losses = []
    with torch.inference_mode():
        for row in rows:
            logits = model(row[None]).logits[0, :-1]
            losses.append(cross_entropy(logits.float(), row[1:], reduction="none"))
    return torch.cat(losses)


def paired(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Return the mean difference of log-likelihoods per token, ours less theirs, with a 95% interval over blocks."""
    difference = (ours - theirs).double()
    blocks = difference[: len(difference) // BLOCK * BLOCK].view(-1, BLOCK).mean(dim=1)
    half = float(1.96 * blocks.std() / len(blocks) ** 0.5)
    mean = float(difference.mean())
    return {"nats_per_token": mean, "low": mean - half, "high": mean + half}


def _perplexity(losses: Tensor) -> float:
    return float(losses.double().mean().exp())


def _held_out(model: Path, text: Path, tokens: int, window: int) -> Tensor:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids[:tokens]
    return torch.tensor(ids[: len(ids) // window * window]).view(-1, window)


def _show(method: str, found: dict[str, Any]) -> None:
    for name in ("ours", "llmcompressor"):
        one = found[name]
        print(
            f"{method:<6} {name:<14} perplexity {one['perplexity']:.4f}  {one['seconds']:.1f} s  "
            f"{one['cpu_seconds']:.1f} s CPU  {one['peak_bytes'] / 1e6:.0f} MB",
            flush=True,
        )
    difference = found["difference"]
    low, high = difference["low"], difference["high"]
    print(
        f"{method:<6} ours - theirs {difference['nats_per_token']:+.5f} nats/token [{low:+.5f}, {high:+.5f}]",
        flush=True,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=Path("models/main"))
    parser.add_argument("--text", type=Path, default=HELD_OUT, help="held-out text")
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of it")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--methods", nargs="+", default=["rtn", "gptq", "w8a8", "fp8"])
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="results file (default: results/against_peers.json)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
