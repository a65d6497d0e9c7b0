"""The bfloat16 error of the engine is about that of transformers, on a GPU if there is one, else on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llm_engine import LLM, SamplingParams

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOKENS = 200


def by_transformers(folder: Path, ids: list[int], dtype: torch.dtype) -> torch.Tensor:
    """Return the log-probability of each token given the tokens before it: [tokens - 1]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(DEVICE)
    with torch.inference_mode():
        logits = model(torch.tensor([ids], device=DEVICE)).logits[0, :-1]
    return logits.float().log_softmax(-1).gather(1, torch.tensor(ids[1:], device=DEVICE).unsqueeze(1))[:, 0].cpu()


def by_engine(folder: Path, ids: list[int], backend: str) -> torch.Tensor:
    """Compute chunks of 64 tokens, so that most tokens attend to the paged cache."""
    settings = {"max_num_batched_tokens": 64, "max_num_seqs": 4, "num_gpu_blocks_override": 200, "max_model_len": 256}
    llm = LLM(str(folder), dtype="bfloat16", device=DEVICE, attention_backend=backend, **settings)
    (output,) = llm.generate(ids, SamplingParams(max_tokens=1, prompt_logprobs=0), use_tqdm=False)
    assert output.prompt_logprobs is not None
    known = [at[token].logprob for at, token in zip(output.prompt_logprobs, ids, strict=True) if at is not None]
    return torch.tensor(known)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "phi3"])
def test_rounding_costs_no_more_than_twice_what_it_costs_transformers(
    models: Path, heldout: str, family: str, backend: str
) -> None:
    folder = models / "zoo" / family
    ids = LLM(str(folder), num_gpu_blocks_override=200).engine.tokenizer.encode(heldout[:4000])[:TOKENS]
    exact = by_transformers(folder, ids, torch.float32)
    theirs = (by_transformers(folder, ids, torch.bfloat16) - exact).abs().mean()
    ours = (by_engine(folder, ids, backend) - exact).abs().mean()
    assert 0 < ours <= 2 * theirs
