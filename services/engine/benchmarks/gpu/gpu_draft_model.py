"""Speculation with a draft model at batch 1 compared with none: paired runs on a GPU, for two pairs of models.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_draft_model.py

`shipped`: the trained pair in `models/`. `llama3-8b`, greedy only: random weights in the shape of Llama-3-8B. Random
models do not agree, so its draft model is its own first layers: both draw the same weights from the same seed. The
output of all later layers is scaled by a power of two, the damping. The smaller it is, the more often both choose the
same token: it sets the acceptance, which is measured like every other figure. With three layers of 32 a draft reads
2.4 GB, as much as Llama-3.2-1B.

`device`: milliseconds of the captured graphs alone, by the GPU's clock. A step is the drafts, the verification and what
the host needs before and after.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.gpu_throughput import COMMON, SHAPES
from benchmarks.measure import MODELS, RESULTS, card, environment, heldout, paired_rates, rounded, save
from benchmarks.speculation import acceptance

from llm_engine import LLM, SamplingParams
from llm_engine.execution.graphs import CudaCapture, DecodeGraphs, Forward, Run
from llm_engine.speculation.choices import columns
from llm_engine.speculation.graphs import Rounds

PROMPT_TOKENS, NEW_TOKENS, REPLAYS = 128, 128, 30
SETTINGS: dict[str, Any] = {
    "max_num_seqs": 4,
    "max_model_len": 1024,
    "num_gpu_blocks_override": 512,
    "enable_prefix_caching": False,
    "attention_backend": "triton",
}
"""Without a prefix cache, which would hold keys and values of weights that have been damped since."""
DRAFT_LAYERS = {"llama3-8b": 3, "tiny": 1}
Ways = dict[str, LLM]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=("shipped", *DRAFT_LAYERS), nargs="+", default=["shipped", "llama3-8b"])
    parser.add_argument("--drafts", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--damping", type=int, nargs="+", default=[-8, -7, -6, -5], help="exponents of 2")
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    setting = environment()
    pairs = {}
    for name in arguments.pair:
        measure = shipped if name == "shipped" else truncated
        pairs[name] = measure(name, arguments)
        print(json.dumps({name: pairs[name]}, indent=2), flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    lengths = {"prompts": arguments.prompts, "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS}
    sizes = {"batch": 1, "rounds": arguments.rounds, **lengths, "draft_layers": DRAFT_LAYERS}
    save(f"gpu_draft_model_{card()}", {**setting, **sizes, "pairs": pairs}, arguments.out)
    return 0


def shipped(_: str, arguments: argparse.Namespace) -> dict[str, Any]:
    ways = open_ways(MODELS / "main", MODELS / "draft", arguments.drafts)
    ids = ways["none"].engine.tokenizer.encode(heldout()[:40_000])
    prompts = [ids[start : start + PROMPT_TOKENS] for start in range(0, 300 * arguments.prompts, 300)]
    found = {f"temperature_{heat}": compare(ways, prompts, arguments.rounds, temperature=heat) for heat in (0, 1)}
    return {**found, "device": device_times(ways)}


def truncated(shape: str, arguments: argparse.Namespace) -> dict[str, Any]:
    config = {**COMMON, **SHAPES[shape]}
    layers = DRAFT_LAYERS[shape]
    with tempfile.TemporaryDirectory() as folder:
        main, draft = Path(folder) / "main", Path(folder) / "draft"
        for path, values in ((main, config), (draft, {**config, "num_hidden_layers": layers})):
            path.mkdir()
            (path / "config.json").write_text(json.dumps(values), encoding="utf-8")
        ways = open_ways(main, draft, arguments.drafts, load_format="dummy", skip_tokenizer_init=True)
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(config["vocab_size"], (arguments.prompts, PROMPT_TOKENS), generator=generator).tolist()
    found: dict[str, Any] = {}
    exponent = 0
    for wanted in arguments.damping:
        damp(ways, layers, 2.0 ** (wanted - exponent))
        exponent = wanted
        found[f"damping_2^{wanted}"] = compare(ways, prompts, arguments.rounds)
    return {**found, "device": device_times(ways)}


def open_ways(main: Path, draft: Path, counts: list[int], **settings: Any) -> Ways:
    configs = {f"draft_{count}": {"model": str(draft), "num_speculative_tokens": count} for count in counts}
    every: dict[str, dict[str, Any] | None] = {"none": None, **configs}
    return {name: LLM(str(main), speculative_config=config, **SETTINGS, **settings) for name, config in every.items()}


def damp(ways: Ways, first: int, factor: float) -> None:
    """Scale what the layers from `first` on add to the hidden states. Powers of two lose nothing, so all stay equal."""
    for llm in ways.values():
        runner = llm.engine._runner
        main = layers_of(runner._forward)
        if runner._draft_model is not None:
            draft = layers_of(runner._draft_model.forward)
            assert all(torch.equal(a.o.weight, b.o.weight) for a, b in zip(draft, main, strict=False))
        for layer in main[first:]:
            layer.o.weight.mul_(factor)
            layer.down.weight.mul_(factor)


def layers_of(forward: Forward) -> Any:
    eager: Any = forward.eager if isinstance(forward, DecodeGraphs) else forward
    return eager.func.__self__._weights.layers


def compare(ways: Ways, prompts: list[list[int]], rounds: int, temperature: float = 0) -> dict[str, Any]:
    """Return rates, ratios and acceptance; if greedy also the share of tokens before one unlike that of `none`."""
    answers = {name: answers_of(llm, prompts, temperature) for name, llm in ways.items()}
    for llm in ways.values():
        acceptance(llm)  # forget it
    rates = paired_rates({name: counted(llm, prompts, temperature) for name, llm in ways.items()}, rounds)
    summary = rates.summary("none")
    for name, llm in ways.items():
        found = acceptance(llm)
        summary[name] |= found
        per_step = found.get("tokens_per_verification", 1) / summary[name]["output_tokens_per_second"]
        summary[name]["step_milliseconds"] = rounded(per_step * 1e3)
        if temperature == 0:
            equal = [common(a, b) / NEW_TOKENS for a, b in zip(answers[name], answers["none"], strict=True)]
            summary[name]["tokens_equal"] = rounded(sum(equal) / len(equal))
    return summary


def answers_of(llm: LLM, prompts: list[list[int]], temperature: float) -> list[list[int]]:
    """One prompt at a time, as all is measured at batch 1."""
    params = SamplingParams(temperature=temperature, seed=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    return [llm.generate(prompt, params, use_tqdm=False)[0].token_ids for prompt in prompts]


def counted(llm: LLM, prompts: list[list[int]], temperature: float) -> Callable[[], int]:
    return lambda: sum(map(len, answers_of(llm, prompts, temperature)))


def common(left: list[int], right: list[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(left, right, strict=True)) if a != b), len(left))


def device_times(ways: Ways) -> dict[str, Any]:
    """Milliseconds of a draft round and of a verification without the host. It overwrites some KV."""
    graphs = {name: llm.engine._runner._speculative_graphs for name, llm in ways.items()}
    return {name: of_rounds(each.rounds) for name, each in graphs.items() if each is not None}


def of_rounds(rounds: Rounds) -> dict[str, float]:
    row = [5, 6, PROMPT_TOKENS, rounds.num_drafts, *range(-(-rounds.max_model_len // rounds.block_size))]
    inputs = torch.tensor([row], device="cuda")
    numbers = torch.full((1, columns(rounds.num_drafts)), 0.5, dtype=torch.float64, device="cuda")
    guess, step = milliseconds(partial(rounds.guess, inputs)), milliseconds(partial(rounds.run, inputs))
    return {
        "draft_round": rounded(guess / rounds.num_drafts),
        "verification": rounded(step - guess),
        "drafts_and_verification": rounded(step),
        "drafts_and_verification_drawn": rounded(milliseconds(partial(rounds.run, inputs, numbers))),
    }


@torch.inference_mode()
def milliseconds(run: Run) -> float:
    replay = CudaCapture()(run)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    replay()
    begin.record()
    for _ in range(REPLAYS):
        replay()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / REPLAYS


if __name__ == "__main__":
    sys.exit(main())
