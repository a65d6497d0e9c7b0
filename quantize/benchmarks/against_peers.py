"""Ours against llm-compressor, GPTQModel and autoawq: equal bits, groups and calibration tokens, one held-out text.

    python quantize/benchmarks/against_peers.py                       # models/main
    python quantize/benchmarks/against_peers.py models/smollm2 --group-size 64 --samples 16 --length 256

Each program runs in a process of its own on one thread. CPU seconds and the peak of memory are the process's, with its
imports; seconds count from before the model is loaded until it is written. Differences of perplexity are paired: token
by token, with an interval over blocks of text and over calibration seeds, against each peer and against rounding to
nearest on the same grid.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm_measure import results
from llm_measure.peers import Peer
from llm_measure.processes import ENVIRONMENT
from llm_quantize import Record, load_dequantized
from llm_quantize.calibration import read_sequences
from llm_quantize.checkpoint import Checkpoint
from llm_quantize.settings import Calibration

PEERS = {"llmcompressor": Peer("quantizers"), "gptqmodel": Peer("gptqmodel"), "autoawq": Peer("autoawq")}
HELD_OUT = Path("models/eval/heldout.txt")
BLOCK = 64
"""Tokens to a block, whose mean differences are taken as independent."""
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}
OURS = os.environ | ENVIRONMENT | SETTINGS
THEIRS = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | SETTINGS
"""A peer must import what its own lock names, not our packages."""


@dataclass(frozen=True)
class Comparison:
    """A method, and the programs that have it."""

    method: str
    peers: tuple[str, ...]
    clip_search: bool = False
    symmetric: bool = True
    has_groups: bool = True


COMPARISONS = {
    "rtn": Comparison("rtn", ("llmcompressor",)),
    "gptq": Comparison("gptq", ("llmcompressor", "gptqmodel")),
    "gptq-clip": Comparison("gptq", ("llmcompressor", "gptqmodel"), clip_search=True),
    "awq": Comparison("awq", ("llmcompressor", "autoawq"), clip_search=True, symmetric=False),
    "w8a8": Comparison("w8a8", ("llmcompressor",), has_groups=False),
    "fp8": Comparison("fp8", ("llmcompressor",), has_groups=False),
}


@dataclass(frozen=True)
class Cost:
    """A process's cost."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Run:
    """A program's run, and the losses of its result on the held-out text: [tokens]."""

    cost: Cost
    losses: Tensor


def main() -> int:
    asked = _arguments()
    for name in PEERS.keys() - set(asked.skip):
        PEERS[name].install()
    with tempfile.TemporaryDirectory() as scratch:
        if asked.scales == "float32":
            asked.model = in_float32(asked.model, Path(scratch) / asked.model.name)
        found = compare_all(asked)
    path = results.write(__file__, found) if asked.out is None else asked.out
    if asked.out is not None:
        path.write_text(json.dumps(found, indent=2) + "\n")
    print(path)
    return 0


def in_float32(model: Path, copy: Path) -> Path:
    """Copy a model with its weights in float32: ours and llm-compressor then store scales of that type as well."""
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    checkpoint = Checkpoint(model)
    weights = {name: checkpoint.get(name).float() for name in checkpoint.names}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    return copy


def compare_all(asked: argparse.Namespace) -> dict[str, Any]:
    rows = _held_out(asked.model, asked.text, asked.tokens, asked.window)
    settings = Calibration(samples=asked.samples, length=asked.length)
    found: dict[str, Any] = {
        "model": asked.model.name,
        "text": asked.text.name,
        "held_out_tokens": rows.numel(),
        "group_size": asked.group_size,
        "scales": asked.scales,
        "calibration": settings.model_dump(mode="json", exclude={"seed"}),
        "source": read_sequences(asked.model, settings).source,
        "peers": {name: peer.version(name) for name, peer in PEERS.items()},
        "machine": results.machine(),
        "full": {"perplexity": _perplexity(nll(asked.model, rows))},
        "methods": {},
    }
    print(f"full perplexity {found['full']['perplexity']:.4f}", flush=True)
    for name in asked.methods:
        found["methods"][name] = compare(asked, COMPARISONS[name], rows)
        print(*_lines(name, found["methods"][name]), sep="\n", flush=True)
    return found


def compare(asked: argparse.Namespace, comparison: Comparison, rows: Tensor) -> dict[str, Any]:
    """Return what each program reached, seed by seed, and how much better ours is than each."""
    seeds = asked.seeds if comparison.method in ("gptq", "awq") else asked.seeds[:1]
    runs = {"ours": [measure(asked, comparison, "ours", seed=seed, rows=rows) for seed in seeds]}
    for peer in comparison.peers:
        if peer not in asked.skip:
            some = seeds[:1] if peer in asked.once else seeds
            runs[peer] = [measure(asked, comparison, peer, seed=seed, rows=rows) for seed in some]
    losses = {name: torch.stack([run.losses for run in each]) for name, each in runs.items()}
    if comparison.method in ("gptq", "awq"):
        plain = Comparison("rtn", (), symmetric=comparison.symmetric)
        losses["rounding"] = measure(asked, plain, "ours", seed=0, rows=rows).losses.expand_as(losses["ours"])
    gains = {name: paired(losses["ours"], theirs) for name, theirs in losses.items() if name != "ours"}
    programs = {name: _entry(each) | ({"gain": gains[name]} if name in gains else {}) for name, each in runs.items()}
    found = {**asdict(comparison), "seeds": seeds, "programs": programs}
    return found | ({"gain_over_rounding": gains["rounding"]} if "rounding" in gains else {})


def measure(asked: argparse.Namespace, comparison: Comparison, program: str, *, seed: int, rows: Tensor) -> Run:
    """Run a program and evaluate its result, unless `--keep` has it from an earlier run."""
    clip = "-clip" if comparison.clip_search else ""
    grid = "" if comparison.symmetric else "-asymmetric"
    kept = asked.keep and asked.keep / f"{asked.model.name}-{comparison.method}{clip}{grid}-{program}-{seed}.pt"
    if kept and kept.exists():
        saved = torch.load(kept)
        return Run(Cost(**saved["cost"]), saved["losses"])
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / program
        if program == "ours":
            cost = run_ours(asked, comparison, seed=seed, out=out)
        else:
            cost = run_peer(asked, comparison, program, seed=seed, out=out)
        found = Run(cost, nll(out, rows))
    if kept:
        asked.keep.mkdir(parents=True, exist_ok=True)
        torch.save({"cost": asdict(found.cost), "losses": found.losses}, kept)
    return found


def run_ours(asked: argparse.Namespace, comparison: Comparison, *, seed: int, out: Path) -> Cost:
    command = [sys.executable, "-m", "llm_quantize", "quantize", str(asked.model), "--method", comparison.method]
    if comparison.has_groups:
        command += ["--group-size", str(asked.group_size)]
        command += ["--symmetric" if comparison.symmetric else "--no-symmetric"]
        command += ["--clip-search" if comparison.clip_search else "--no-clip-search"]
    command += ["--samples", str(asked.samples), "--length", str(asked.length), "--seed", str(seed)]
    cpu_seconds, _ = run([*command, "--out", str(out)], OURS)
    record = Record.read(out)
    return Cost(record.seconds, cpu_seconds, record.peak_bytes)


def run_peer(asked: argparse.Namespace, comparison: Comparison, peer: str, *, seed: int, out: Path) -> Cost:
    settings = Calibration(samples=asked.samples, length=asked.length, seed=seed)
    job = out.with_suffix(".json")
    given = {
        "model": str(asked.model),
        "out": str(out),
        "method": comparison.method,
        "group_size": asked.group_size,
        "clip_search": comparison.clip_search,
        "tokens": read_sequences(asked.model, settings).tokens.tolist(),
    }
    job.write_text(json.dumps(given))
    script = Path(__file__).with_name(f"{peer}_peer.py")
    cpu_seconds, said = run([PEERS[peer].program("python"), str(script), str(job)], THEIRS)
    told = json.loads(said.splitlines()[-1])
    return Cost(round(told["seconds"], 3), cpu_seconds, told["peak_bytes"])


def run(command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run a program to its end, and return its CPU seconds and what it printed. SystemExit if it fails."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=printed, stderr=errors)
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
    """Return the mean log-likelihood that ours gains a token, with a 95% interval over blocks of text and over seeds.

    Both are losses [seeds, tokens]; the seeds that both have are compared.
    """
    count = min(len(ours), len(theirs))
    gain = (theirs[:count] - ours[:count]).double()
    blocks = gain[:, : gain.shape[1] // BLOCK * BLOCK].mean(dim=0).view(-1, BLOCK).mean(dim=1)
    variance = float(blocks.var()) / len(blocks)
    if count > 1:
        variance += float(gain.mean(dim=1).var()) / count
    middle, half = float(gain.mean()), 1.96 * variance**0.5
    return {"nats_per_token": middle, "low": middle - half, "high": middle + half}


def _entry(runs: list[Run]) -> dict[str, list[float]]:
    """Return a value for each seed."""
    costs = [asdict(run.cost) for run in runs]
    return {"perplexity": [_perplexity(run.losses) for run in runs]} | {
        name: [cost[name] for cost in costs] for name in ("seconds", "cpu_seconds", "peak_bytes")
    }


def _perplexity(losses: Tensor) -> float:
    return float(losses.double().mean().exp())


def _held_out(model: Path, text: Path, tokens: int, window: int) -> Tensor:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids[:tokens]
    return torch.tensor(ids[: len(ids) // window * window]).view(-1, window)


def _lines(name: str, found: dict[str, Any]) -> Iterator[str]:
    for program, one in found["programs"].items():
        gain = one.get("gain")
        against = f"ours gains {_interval(gain)}" if gain else ""
        yield (
            f"{name:<10} {program:<14} perplexity {', '.join(f'{each:.4f}' for each in one['perplexity'])}  "
            f"{min(one['cpu_seconds']):.1f} s CPU  {max(one['peak_bytes']) / 1e6:.0f} MB  {against}"
        )
    if gain := found.get("gain_over_rounding"):
        yield f"{name:<10} ours gains {_interval(gain)} over rounding to nearest"


def _interval(gain: dict[str, float]) -> str:
    return f"{gain['nats_per_token']:+.5f} nats/token [{gain['low']:+.5f}, {gain['high']:+.5f}]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=Path("models/main"))
    parser.add_argument("--text", type=Path, default=HELD_OUT, help="held-out text")
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of it")
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--methods", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--group-size", type=int, default=128)
    parser.add_argument(
        "--scales",
        choices=("float32", "stored"),
        default="float32",
        help="of ours: as llm-compressor's, " "or of the type in which the model is stored",
    )
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the calibration text")
    parser.add_argument("--once", nargs="+", choices=PEERS, default=[], help="peers that run with the first seed only")
    parser.add_argument("--skip", nargs="+", choices=PEERS, default=[], help="peers that do not run")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each run's losses here, and take those that are")
    parser.add_argument("--out", type=Path, help="results file (default: results/against_peers.json)")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
