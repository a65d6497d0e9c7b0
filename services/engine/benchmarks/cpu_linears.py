"""How weights are laid out for a CPU's matrix products, in the whole engine: paired runs at batch 1 and 16.

    python services/engine/benchmarks/cpu_linears.py

rows       [out, in], as checkpoints have them
columns    [in, out], what the back end torch does
packed     oneDNN's own blocks
panels     16 outputs next to each other, as in the cpp backend, with kernels of our own

Everything else is the back end torch's in all of them, on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.measure import MODELS, environment, heldout, paired_rates, save
from torch import Tensor

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint import weights
from llm_engine.operators.linear import DenseLinear, Linear, make_linear
from llm_kernels.cpu import PackedLinear

PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 96, 5
BATCHES = (1, 16)
PACKED_FOR_ROWS = 16


def rows(weight: Tensor, bias: Tensor | None = None, backend: str = "torch") -> Linear:
    return DenseLinear(weight, bias)


def packed(weight: Tensor, bias: Tensor | None = None, backend: str = "torch") -> Linear:
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR_ROWS)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, blocks, bias, "none", [], "")


def panels(weight: Tensor, bias: Tensor | None = None, backend: str = "torch") -> Linear:
    return PackedLinear.of(weight, bias)


WAYS: dict[str, Callable[..., Linear]] = {"rows": rows, "columns": make_linear, "packed": packed, "panels": panels}


def main() -> int:
    setting = environment()
    llms = {name: open_model(way) for name, way in WAYS.items()}
    ids = llms["rows"].engine.tokenizer.encode(heldout()[:20_000])
    found: dict[str, Any] = {}
    for batch in BATCHES:
        prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
        contenders = {name: partial(generate, llm, prompts) for name, llm in llms.items()}
        found[f"batch_{batch}"] = paired_rates(contenders, ROUNDS).summary("packed")
    sizes = {"model": "main", "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS, "rounds": ROUNDS}
    save("cpu_linears", {**setting, **sizes, **found})
    return 0


def open_model(way: Callable[..., Linear]) -> LLM:
    with patch.object(weights, "make_linear", way):
        return LLM(str(MODELS / "main"), attention_backend="torch", enable_prefix_caching=False)


def generate(llm: LLM, prompts: list[list[int]]) -> int:
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    return sum(len(output.token_ids) for output in llm.generate(prompts, params, use_tqdm=False))


if __name__ == "__main__":
    sys.exit(main())
