"""Quantise a model of Llama-3-8B's shape on a GPU, method by method, and say where the time goes.

    python quantize/benchmarks/large_model.py [--device cuda] [--methods gptq,awq,smoothquant] [--check]

The weights are random and the structure is real, so times and memory are those of the real model; perplexities would
mean nothing. The tokenizer is the shipped one, whose tokens are the first of the vocabulary. The bar is ten minutes for
each method, with 128 sequences of 2,048 tokens, from reading the checkpoint to the finished folder. `--layers` and
`--hidden` make it small for a laptop. With `--keep FOLDER` the model and the checkpoints stay, for
services/engine/benchmarks/gpu/gpu_quantized.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file

from llm_measure.processes import ROOT
from llm_measure.results import check, machine, write
from llm_quantize import make_recipe, quantize
from llm_quantize.pipeline import step, walk
from llm_quantize.pipeline.output import OutputFolder
from llm_quantize.pipeline.skeleton import Skeleton
from llm_quantize.pipeline.walk import Progress

TOKENIZER = ROOT / "models" / "main"
METHODS = ("gptq", "awq", "smoothquant")
SAMPLES, LENGTH = 128, 2048
VOCABULARY = 128_256
LONGEST = 600.0
SPREAD = 0.02
"""Standard deviation of the random weights, as Llama's initialiser."""


def shape(hidden: int, layers: int) -> dict[str, Any]:
    """Return the config.json of Llama-3-8B, or of a model of the same proportions."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": hidden * 7 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 128,
        "num_key_value_heads": max(1, hidden // 512),
        "head_dim": 128,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def make_model(folder: Path, hidden: int, layers: int, device: str) -> None:
    """Write a model with random weights, a file for each block."""
    config = shape(hidden, layers)
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    (folder / "config.json").write_text(json.dumps(config))
    random = torch.Generator(device).manual_seed(0)

    def weight(rows: int, columns: int) -> torch.Tensor:
        return (torch.randn(rows, columns, generator=random, device=device) * SPREAD).bfloat16().cpu()

    ones = torch.ones(hidden, dtype=torch.bfloat16)
    kv, inner, vocab = config["num_key_value_heads"] * 128, config["intermediate_size"], config["vocab_size"]
    around = {"model.embed_tokens": weight(vocab, hidden), "model.norm": ones, "lm_head": weight(vocab, hidden)}
    save_file({f"{name}.weight": tensor for name, tensor in around.items()}, folder / "around.safetensors")
    for index in range(layers):
        attention = {"q_proj": (hidden, hidden), "k_proj": (kv, hidden), "v_proj": (kv, hidden)}
        own = {f"self_attn.{name}": weight(*size) for name, size in {**attention, "o_proj": (hidden, hidden)}.items()}
        mlp = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
        own |= {f"mlp.{name}": weight(*size) for name, size in mlp.items()}
        own |= {"input_layernorm": ones, "post_attention_layernorm": ones.clone()}
        tensors = {f"model.layers.{index}.{name}.weight": tensor for name, tensor in own.items()}
        save_file(tensors, folder / f"block-{index:03}.safetensors")


PHASES: tuple[tuple[str, Any, str], ...] = (
    ("read weights", Skeleton, "load"),
    ("search scales", step, "smooth"),
    ("run and gather Hessians", step, "gather"),
    ("round columns", step, "quantize_layers"),
    ("run the rounded block", step.Step, "run"),
    ("write", OutputFolder, "write"),
    ("embed", Skeleton, "start"),
    ("calibration text", walk, "read_sequences"),
)
"""Phase -> the function that does it. What `smooth` gathers itself counts as its own."""


@contextmanager
def timed(device: str) -> Iterator[dict[str, float]]:
    """Time the phases of what runs in the `with` block. Yields seconds by phase."""
    seconds: dict[str, float] = defaultdict(float)

    def wait() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def wrap(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed_function(*arguments: Any, **keywords: Any) -> Any:
            started = wait()
            found = function(*arguments, **keywords)
            if phase == "round columns":  # a generator
                found = list(found)
            seconds[phase] += wait() - started
            return found

        return timed_function

    with ExitStack() as stack:
        for phase, owner, name in PHASES:
            stack.enter_context(patch.object(owner, name, wrap(phase, getattr(owner, name))))
        yield seconds


def measure(model: Path, out: Path, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Quantise by one method and return seconds, phases, peak memory and mean relative error."""
    calibration = {"samples": arguments.samples, "length": arguments.length}
    recipe = make_recipe(method=method, calibration=calibration)

    def show(progress: Progress) -> None:
        print(f"{method}: block {progress.block} of {progress.blocks}, {progress.seconds:.0f} s", flush=True)

    with timed(arguments.device) as seconds:
        record = quantize(model, out, recipe, device=arguments.device, progress=show)
    phases = {phase: round(value, 2) for phase, value in sorted(seconds.items(), key=lambda item: -item[1])}
    return {
        "seconds": record.seconds,
        "phases": {**phases, "other": round(record.seconds - sum(phases.values()), 2)},
        "peak_bytes": record.peak_bytes,
        "weight_bytes": record.weight_bytes,
        "relative_error": sum(layer.relative_error for layer in record.layers) / len(record.layers),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write model and checkpoints there, and leave them")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a bar is broken")
    arguments = parser.parse_args()
    card = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else ""
    settings = {name: getattr(arguments, name) for name in ("hidden", "layers", "samples", "length")}
    found: dict[str, Any] = {"machine": machine(), "card": card, **settings, "methods": {}}
    with tempfile.TemporaryDirectory(prefix="llm-quantize-") as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        make_model(folder / "model", arguments.hidden, arguments.layers, arguments.device)
        for method in arguments.methods.split(","):
            found["methods"][method] = measure(folder / "model", folder / method, method, arguments)
            if arguments.keep is None:
                shutil.rmtree(folder / method)
    bars = {f"seconds by {name}": (one["seconds"], "<=", LONGEST) for name, one in found["methods"].items()}
    holds = check(found, bars)
    print(write(__file__, found))
    return 0 if holds or not arguments.check else 1


if __name__ == "__main__":
    raise SystemExit(main())
