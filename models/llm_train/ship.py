"""From a preset to a shipped folder: train, write bf16 weights, read them back, measure, record, draw the card."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import GenerationConfig

from llm_train.bpe import SEPARATOR_ID, as_family, save_tokenizer
from llm_train.card import write_card
from llm_train.evaluate import evaluate_folder, load_tokens
from llm_train.presets import PRESETS, Preset
from llm_train.trainer import BETAS, CLIP, WINDOWS, Run, Trained, train

CPU_TOKENS_PER_STEP = 4096
CPU_EVALUATION_TOKENS = 8192


def train_and_ship(
    name: str,
    data: Path,
    out: Path,
    *,
    steps: int | None = None,
    tokens_per_step: int | None = None,
    device: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train preset `name` on the folder that prepare wrote, write `out`, and return the contents of `training.json`.

    None takes the preset's recipe, and the GPU if there is one.
    """
    preset = _preset(name)
    if not (data / "manifest.json").exists():
        raise SystemExit(f"{data} holds no prepared data; run: python models/train.py prepare --out {data}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = device == "cpu"
    run = Run(
        steps=steps or preset.steps,
        tokens_per_step=tokens_per_step or (CPU_TOKENS_PER_STEP if on_cpu else preset.tokens_per_step),
        device=device,
        seed=seed,
        validation_tokens=CPU_EVALUATION_TOKENS if on_cpu else None,
    )
    trained = train(preset, run, load_tokens(data / "train.npy", device), load_tokens(data / "validation.npy", device))
    _write_checkpoint(trained.model, data, out)
    manifest = json.loads((data / "manifest.json").read_text(encoding="utf-8"))
    results = _record(preset, run, trained, manifest) | evaluate_folder(out, data, device, run.validation_tokens)
    (out / "training.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_card(out)
    return results


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise SystemExit(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _write_checkpoint(model: Any, data: Path, out: Path) -> None:
    model.generation_config = GenerationConfig(
        bos_token_id=SEPARATOR_ID, eos_token_id=SEPARATOR_ID, pad_token_id=SEPARATOR_ID
    )
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)  # written private; a checkpoint is for everybody
    tokenizer = Tokenizer.from_file(str(data / "tokenizer.json"))
    save_tokenizer(as_family(tokenizer, model.config.model_type), out)


def _record(preset: Preset, run: Run, trained: Trained, manifest: dict[str, Any]) -> dict[str, Any]:
    seen_tokens = run.steps * run.tokens_per_step
    return {
        "preset": preset.name,
        "purpose": preset.purpose,
        "family": preset.family,
        "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
        "data": manifest,
        "recipe": {
            "steps": run.steps,
            "tokens_per_step": run.tokens_per_step,
            "epochs": round(seen_tokens / manifest["splits"]["train"]["tokens"], 2),
            "windows": list(WINDOWS),
            "optimizer": "AdamW",
            "learning_rate": preset.learning_rate,
            "betas": list(BETAS),
            "weight_decay": preset.weight_decay,
            "gradient_clip": CLIP,
            "precision": "bf16 autocast, fp32 weights" if run.device == "cuda" else "fp32",
            "seed": run.seed,
            "device": run.device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "best_step": trained.best_step,
        "wall_seconds": trained.wall_seconds,
        "curve": trained.curve,
        "validation": min(trained.curve, key=lambda point: point["validation"]),
    }
