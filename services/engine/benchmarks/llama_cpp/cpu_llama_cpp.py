"""Quantised decoding on a CPU, compared with llama.cpp and with 16-bit weights: tokens per second, paired runs.

    python services/engine/benchmarks/llama_cpp/cpu_llama_cpp.py --model SMOLLM2 --gguf Q4_1.gguf \\
        --llama-python VENV/bin/python

SMOLLM2 is a Hugging Face folder in bfloat16 and Q4_1.gguf the same weights as llama.cpp's 4-bit file, whose output head
is Q8_0. This program rounds the folder to 4 and 8 bits with the engine's test formats, and the GGUF to Q8_0 with
llama.cpp's own quantiser. `--llama-python` runs llama-cpp-python in an environment of its own; it works on the same
prompts and chooses tokens by the largest logit as well.

One round runs every contender once, one after another, on two threads. A run's figure is from the fastest tenth of its
decode steps: slower ones were slowed from outside, which says nothing about either. With `--clock cpu` it is processor
time, for one thread on a busy machine. `first_step` is the prefill. Megabytes are those of the weights that a step
reads: no step is faster than reading them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.measure import environment, heldout, paired, rounded, save

from llm_engine import LLM, SamplingParams
from llm_engine.testing.parts import decoder_of
from llm_engine.testing.rounding import round_model
from llm_kernels.cpu import PackedLinear

PROMPT_TOKENS, NEW_TOKENS = 64, 48
BATCHES = (1, 8)
FORMATS = {"int4_g32": ("int4", 32), "int4_g64_zeros": ("int4, asymmetric", 64), "int8": ("int8", 32)}
"""Name -> the engine's test format and group size."""
PEERS = {"int4_g32": "llama_cpp_q4_1", "int4_g64_zeros": "llama_cpp_q4_1", "int8": "llama_cpp_q8_0"}
Run = Callable[[list[list[int]]], list[float]]
"""Prompts -> seconds of each step, the prefill first."""


def main() -> int:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    setting = environment()
    with tempfile.TemporaryDirectory() as folder, contenders(arguments, Path(folder)) as (runs, sizes, tokenizer):
        ids = tokenizer.encode(heldout()[:40_000])
        found = {}
        for batch in arguments.batches:
            prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
            found[f"batch_{batch}"] = compare(runs, prompts, arguments.rounds)
    settings = {
        "threads": arguments.threads,
        "clock": arguments.clock,
        "prompt_tokens": PROMPT_TOKENS,
        "output_tokens": NEW_TOKENS,
        "rounds": arguments.rounds,
        "weight_megabytes_per_step": {name: rounded(size / 1e6) for name, size in sizes.items()},
    }
    save(f"cpu_llama_cpp_{arguments.clock}", {**setting, **settings, **found})
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--llama-python", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    return parser.parse_args()


@contextmanager
def contenders(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[dict[str, Run], dict[str, int], Any]]:
    """Open every contender; yield their runs, the bytes of weights that a step reads, and the tokenizer."""
    eight = folder / "q8_0.gguf"
    llama = (arguments.llama_python, str(Path(__file__).with_name("llama_cpp_steps.py")))
    subprocess.run((*llama, "quantize", str(arguments.gguf), str(eight)), check=True, stdout=subprocess.DEVNULL)
    llms = {"bfloat16": arguments.model}
    for name, (form, group_size) in FORMATS.items():
        round_model(arguments.model, folder / name, form, group_size)
        llms[name] = folder / name
    opened = {
        name: LLM(str(path), enable_prefix_caching=False, max_model_len=1024, attention_backend="cpp")
        for name, path in llms.items()
    }
    options = (str(arguments.threads), arguments.clock)
    servers = {
        name: subprocess.Popen((*llama, "serve", str(path), *options), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name, path in (("llama_cpp_q4_1", arguments.gguf), ("llama_cpp_q8_0", eight))
    }
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    runs: dict[str, Run] = {name: steps_of(llm, clock) for name, llm in opened.items()}
    runs |= {name: asked(server) for name, server in servers.items()}
    sizes = {name: weight_bytes(llm) for name, llm in opened.items()}
    sizes |= {"llama_cpp_q4_1": arguments.gguf.stat().st_size, "llama_cpp_q8_0": eight.stat().st_size}
    try:
        yield runs, sizes, opened["bfloat16"].engine.tokenizer
    finally:
        for server in servers.values():
            server.communicate()


def compare(runs: dict[str, Run], prompts: list[list[int]], rounds: int) -> dict[str, Any]:
    first: dict[str, list[float]] = {name: [] for name in runs}

    def figure(name: str) -> float:
        seconds = runs[name](prompts)
        first[name].append(seconds[0])
        return len(prompts) / statistics.quantiles(seconds[1:], n=10)[0]

    rates = paired({name: partial(figure, name) for name in runs}, rounds, "tokens_per_second")
    found = rates.summary("bfloat16")
    for name, figures in found.items():
        figures["first_step_milliseconds"] = rounded(statistics.median(first[name][1:]) * 1e3)
        if name in PEERS:
            peer = zip(rates.by_name[name], rates.by_name[PEERS[name]], strict=True)
            ratios = sorted(ours / theirs for ours, theirs in peer)
            figures[f"ratio_to_{PEERS[name]}"] = rounded(statistics.median(ratios))
            figures["peer_ratio_range"] = [rounded(ratios[0]), rounded(ratios[-1])]
    return found


def steps_of(llm: LLM, clock: Callable[[], float]) -> Run:
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    engine = llm.engine

    def run(prompts: list[list[int]]) -> list[float]:
        for index, prompt in enumerate(prompts):
            engine.enqueue(str(index), engine.prepare(prompt, params, only_final=True))
        seconds = []
        while engine.has_work:
            begun = clock()
            engine.step()
            seconds.append(clock() - begun)
        return seconds

    return run


def asked(server: subprocess.Popen[bytes]) -> Run:
    def run(prompts: list[list[int]]) -> list[float]:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({"prompts": prompts, "steps": NEW_TOKENS}).encode() + b"\n")
        server.stdin.flush()
        seconds: list[float] = json.loads(server.stdout.readline())
        return seconds

    return run


def weight_bytes(llm: LLM) -> int:
    """Return how many bytes of packed weights a step reads."""
    weights: Any = decoder_of(llm)._weights
    layers = [part for layer in weights.layers for part in (layer.qkv, layer.o, layer.gate_up, layer.down)]
    linears = [weights.head, *layers]
    assert all(isinstance(linear, PackedLinear) for linear in linears)
    return sum(linear.weight.panels.nbytes for linear in linears)


if __name__ == "__main__":
    sys.exit(main())
