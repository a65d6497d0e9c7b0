"""The training loop: AdamW, warm-up and cosine, best validation checkpoint kept.

Short and long windows alternate, so positions up to 2,048 are trained as well as prompts of a few tokens. Seeds are
fixed and deterministic kernels asked for: a CPU run repeats bit for bit with the same software and thread count; on a
GPU the attention's backward pass may still differ in the last bits.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from llm_train.evaluate import next_token_losses
from llm_train.presets import Preset

WINDOWS = (512, 2048)
BETAS = (0.9, 0.95)
CLIP = 1.0
EVALUATIONS = 20

Loss = Callable[[torch.nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """One training run's choices; `validation_tokens` bounds each validation (None: the whole split)."""

    steps: int
    tokens_per_step: int
    device: str
    seed: int
    validation_tokens: int | None


@dataclass
class Trained:
    """The best model by validation loss, and the training history: `curve` has step, train and validation loss."""

    model: Any
    curve: list[dict[str, float]]
    best_step: int
    wall_seconds: float


def train(preset: Preset, run: Run, train_tokens: Tensor, validation_tokens: Tensor) -> Trained:
    """Train `preset` from scratch on `train_tokens` [n] int64, on `run.device`."""
    _be_deterministic(run.seed)
    model = AutoModelForCausalLM.from_config(preset.config(), dtype=torch.float32).to(run.device)
    optimizer = _optimizer(model, preset, run.device)
    loss_of = _loss_function(run.device)
    batches = torch.Generator().manual_seed(run.seed)
    every = max(1, run.steps // EVALUATIONS)
    trained = Trained(model, curve=[], best_step=0, wall_seconds=0.0)
    best_loss, best_weights = math.inf, model.state_dict()
    recent: list[Tensor] = []
    started = time.monotonic()
    for step in range(1, run.steps + 1):
        _set_learning_rate(optimizer, preset.learning_rate, step, run.steps)
        recent.append(_step(model, optimizer, loss_of, _batch(train_tokens, step, run, batches)))
        if step % every and step != run.steps:
            continue
        validation_loss = _validate(model, validation_tokens[: run.validation_tokens])
        train_loss = torch.stack(recent).mean().item()
        recent.clear()
        trained.curve.append({"step": step, "train": round(train_loss, 4), "validation": round(validation_loss, 4)})
        if validation_loss < best_loss:
            best_loss, trained.best_step = validation_loss, step
            best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        seconds = time.monotonic() - started
        print(
            f"{preset.name}: step {step}/{run.steps}  train {train_loss:.3f}  validation {validation_loss:.3f}"
            f"  {seconds:.0f} s",
            flush=True,
        )
    model.load_state_dict(best_weights)
    trained.wall_seconds = round(time.monotonic() - started, 1)
    return trained


def _be_deterministic(seed: int) -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(seed)


def _optimizer(model: torch.nn.Module, preset: Preset, device: str) -> torch.optim.Optimizer:
    """Make the optimizer, with weight decay on matrices only: norms and biases have no scale to shrink."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": preset.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=preset.learning_rate, betas=BETAS, fused=device == "cuda")


def _set_learning_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Set the rate: linear warm-up over the first 5 % of the steps (at most 100), then a cosine down to a fiftieth."""
    warmup = max(1, min(100, steps // 20))
    progress = (step - warmup) / max(1, steps - warmup)
    scale = step / warmup if step <= warmup else 0.02 + 0.49 * (1 + math.cos(math.pi * progress))
    for group in optimizer.param_groups:
        group["lr"] = peak * scale


def _loss_function(device: str) -> Loss:
    """Return the mean next-token loss of windows [batch, length + 1]; on a GPU compiled and in bf16 autocast."""

    def loss(model: torch.nn.Module, ids: Tensor) -> Tensor:
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        return functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    if device != "cuda":
        return loss
    compiled: Loss = torch.compile(loss, dynamic=False)

    def loss_in_bf16(model: torch.nn.Module, ids: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return compiled(model, ids)

    return loss_in_bf16


def _batch(tokens: Tensor, step: int, run: Run, generator: torch.Generator) -> Tensor:
    """Draw random windows [batch, length + 1] of `tokens`; the length alternates from step to step."""
    length = min(WINDOWS[step % len(WINDOWS)], len(tokens) - 2)
    count = max(1, run.tokens_per_step // length)
    starts = torch.randint(len(tokens) - length - 1, (count, 1), generator=generator)
    return tokens[(starts + torch.arange(length + 1)).to(tokens.device)]


def _step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss_of: Loss, ids: Tensor) -> Tensor:
    loss = loss_of(model, ids)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _validate(model: torch.nn.Module, tokens: Tensor) -> float:
    model.eval()
    loss = next_token_losses(model, tokens).mean().item()
    model.train()
    return loss
