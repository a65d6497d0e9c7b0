"""How good a model is: perplexity on held-out tokens, and what it writes.

Perplexity is exp of the mean cross entropy per predicted token over windows of 2,048 tokens that do not overlap, in
fp32. Bits per byte divides by the bytes of the text instead, so it compares across tokenizers.
"""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm_train.bpe import CONTEXT

PROMPT = "def fibonacci(n):"
SLICE_TOKENS = 8192


def next_token_losses(model: torch.nn.Module, tokens: Tensor, window: int = CONTEXT) -> Tensor:
    """Return the cross entropy in nats of every token but each window's first: [n] int64 -> [about n] fp32."""
    losses = []
    with torch.inference_mode():
        for start in range(0, len(tokens) - 1, window):
            ids = tokens[start : start + window + 1]
            logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0].float()
            losses.append(functional.cross_entropy(logits, ids[1:], reduction="none"))
    return torch.cat(losses)


def evaluate_folder(folder: Path, data: Path, device: str, limit_tokens: int | None) -> dict[str, Any]:
    """Measure the checkpoint in `folder`, as shipped, on the test split and held-out text of the `data` folder."""
    torch.set_float32_matmul_precision("highest")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    test = load_tokens(data / "test.npy", device)[:limit_tokens]
    heldout_text = (data / "eval" / "heldout.txt").read_bytes().decode("utf-8")
    heldout = torch.tensor(tokenizer(heldout_text, verbose=False)["input_ids"], device=device)[:limit_tokens]
    test_losses = next_token_losses(model, test)
    test_bytes = len(tokenizer.decode(test.tolist(), skip_special_tokens=True).encode())
    return {
        "test": {
            **_summary(test_losses),
            "bits_per_byte": round(float(test_losses.double().sum()) / math.log(2) / test_bytes, 4),
        },
        "heldout": _summary(next_token_losses(model, heldout)),
        "heldout_slice": _summary(next_token_losses(model, heldout[:SLICE_TOKENS])),
        "perplexity_by_position": _by_position(test_losses),
        "sample": {"prompt": PROMPT, "greedy": _complete(model, tokenizer, greedy=True)}
        | {"temperature_0.7": _complete(model, tokenizer, greedy=False)},
    }


def load_tokens(path: Path, device: str) -> Tensor:
    """Return a token array as int64 on `device`."""
    return torch.from_numpy(np.load(path).astype(np.int64)).to(device)


def _summary(losses: Tensor) -> dict[str, Any]:
    return {"tokens": len(losses), "perplexity": round(math.exp(losses.double().mean().item()), 4)}


def _by_position(losses: Tensor) -> dict[str, float]:
    """Return perplexity by length of context: it falls for as long as the model uses its context."""
    whole = losses[: len(losses) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    if not len(whole):
        return {}
    edges = (0, 64, 256, 1024, CONTEXT)
    return {
        f"{low}-{high - 1}": round(math.exp(whole[:, low:high].double().mean().item()), 4)
        for low, high in itertools.pairwise(edges)
    }


def _complete(model: Any, tokenizer: Any, greedy: bool) -> str:
    torch.manual_seed(0)
    ids = tokenizer(PROMPT, return_tensors="pt").to(model.device)
    sampling = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 1.0}
    output = model.generate(
        input_ids=ids["input_ids"], attention_mask=ids["attention_mask"], max_new_tokens=96, **sampling
    )
    return str(tokenizer.decode(output[0], skip_special_tokens=True))
