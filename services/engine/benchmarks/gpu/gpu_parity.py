"""The distance of bfloat16 on a GPU from float32, for this engine and transformers, and the tokens in float32.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_parity.py

Log-probabilities of the same tokens: of a held-out text, computed in chunks over the paged cache, and of tokens that
the engine wrote itself, each in a decode of its own. The reference is transformers in float32; the bar is twice the
mean difference that transformers' own bfloat16 has to it. `qwen3-0.6b` has random weights.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.gpu_throughput import COMMON, SHAPES
from benchmarks.measure import MODELS, RESULTS, environment, heldout, rounded, save
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from llm_engine import LLM, SamplingParams

PROMPT_TOKENS, TEXT_TOKENS, PROMPTS, NEW_TOKENS = 32, 512, 16, 128
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3")
SETTINGS: dict[str, Any] = {"max_model_len": 640, "max_num_batched_tokens": 128, "num_gpu_blocks_override": 1200}
"""A small token budget: most of the text's chunks attend to the cache."""


def main() -> int:
    setting = environment()
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(4, get_context("spawn")) as pool:
        folders = {"qwen3-0.6b": Path(scratch), "main": MODELS / "main"}
        folders |= {family: MODELS / "zoo" / family for family in FAMILIES}
        random_model(folders["qwen3-0.6b"], "qwen3-0.6b")
        models = dict(zip(folders, pool.map(compare, folders.values()), strict=True))
    for found in models.values():
        found["within_bar"] = all(found[part]["ratio_to_bar"] <= 1 for part in ("text", "decodes"))
    save("gpu_parity", {**setting, "models": models}, out)
    return 0 if all(found["within_bar"] for found in models.values()) else 1


def random_model(folder: Path, shape: str) -> None:
    (folder / "config.json").write_text(json.dumps({**COMMON, **SHAPES[shape]}))
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder)


def compare(folder: Path) -> dict[str, Any]:
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    if (folder / "tokenizer.json").exists():
        ids: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(heldout()[:40_000]).ids
    else:
        ids = torch.randint(vocab_size, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    text = ids[:TEXT_TOKENS]
    prompts = [ids[start : start + PROMPT_TOKENS] for start in range(0, PROMPTS * PROMPT_TOKENS, PROMPT_TOKENS)]
    ours = open_engine(folder, "bfloat16", "triton")
    told_text, written = text_logprobs(ours, text), write(ours, prompts)
    del ours
    exact, theirs = (reference(folder, dtype, [text], 0) for dtype in (torch.float32, torch.bfloat16))
    sequences = [prompt + tokens for prompt, (tokens, _) in zip(prompts, written, strict=True)]
    exact_decodes, their_decodes = (
        reference(folder, dtype, sequences, PROMPT_TOKENS - 1) for dtype in (torch.float32, torch.bfloat16)
    )
    told_decodes = torch.tensor([logprob for _, logprobs in written for logprob in logprobs])
    return {
        "text": against_bar(told_text, theirs, exact),
        "decodes": against_bar(told_decodes, their_decodes, exact_decodes),
        "float32_equal_tokens": same_tokens(folder, prompts),
    }


def open_engine(folder: Path, dtype: str, backend: str) -> LLM:
    gc.collect()
    settings = {**SETTINGS, "skip_tokenizer_init": not (folder / "tokenizer.json").exists()}
    return LLM(str(folder), dtype=dtype, device=DEVICE, attention_backend=backend, **settings)


def against_bar(ours: Tensor, theirs: Tensor, exact: Tensor) -> dict[str, float]:
    own, bar = (ours - exact).abs().mean().item(), 2 * (theirs - exact).abs().mean().item()
    return {
        "tokens": len(exact),
        "engine": rounded(own),
        "transformers": rounded(bar / 2),
        "ratio_to_bar": rounded(own / bar),
    }


def same_tokens(folder: Path, prompts: list[list[int]]) -> dict[str, str]:
    """Greedy, float32: how many of the answers are transformers', token for token."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE)
    with torch.inference_mode():
        batch = torch.tensor(prompts, device=DEVICE)
        generated = model.generate(
            batch,
            attention_mask=torch.ones_like(batch),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    expected = generated[:, PROMPT_TOKENS:].tolist()
    found = {}
    for backend in ("torch", "triton"):
        written = [tokens for tokens, _ in write(open_engine(folder, "float32", backend), prompts)]
        found[backend] = f"{sum(a == b for a, b in zip(written, expected, strict=True))} of {len(prompts)}"
    return found


def text_logprobs(llm: LLM, ids: list[int]) -> Tensor:
    (output,) = llm.generate(ids, SamplingParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False)
    assert output.prompt_logprobs is not None
    pairs = zip(output.prompt_logprobs, ids, strict=True)
    return torch.tensor([at[token].logprob for at, token in pairs if at is not None])


def write(llm: LLM, prompts: list[list[int]]) -> list[tuple[list[int], list[float]]]:
    """Greedy tokens of each prompt, and how likely each was."""
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True, logprobs=0)
    done = llm.generate(prompts, params, use_tqdm=False)
    return [(output.token_ids, list(chosen(output.token_ids, output.outputs[0].logprobs or []))) for output in done]


def chosen(tokens: list[int], logprobs: list[Any]) -> Iterable[float]:
    return (at[token].logprob for token, at in zip(tokens, logprobs, strict=True))


def reference(folder: Path, dtype: torch.dtype, sequences: list[list[int]], first: int) -> Tensor:
    """Log-probability, given those before it, of each token after `first` of each sequence, all in one row."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(DEVICE)
    ids = torch.tensor(sequences, device=DEVICE)
    with torch.inference_mode():
        logits = model(ids).logits[:, first:-1].float()
    chosen: Tensor = logits.log_softmax(-1).gather(2, ids[:, first + 1 :].unsqueeze(2)).flatten().cpu()
    return chosen


if __name__ == "__main__":
    sys.exit(main())
