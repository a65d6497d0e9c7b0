"""A Hugging Face hub cache in which the names that vLLM's tests ask for lead to this repository's small models.

Neither vLLM's tests nor the servers reach the network; both resolve `Qwen/Qwen3-0.6B` to the stand-in. It has the
tokenizer of our models, a ChatML template, and a context of 16,384 tokens, for some tests ask for 10,100.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from llm_lab import paths

SHIPPED = paths.ROOT / "models"
MODELS = {
    "HuggingFaceH4/zephyr-7b-beta": "zoo/mistral",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "zoo/llama",
    "Qwen/Qwen2-1.5B-Instruct": "zoo/qwen2",
    "Qwen/Qwen2.5-1.5B-Instruct": "zoo/qwen2",
    "Qwen/Qwen3-0.6B": "zoo/qwen3",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "main",  # its test looks for running requests 10 times a second
    "facebook/opt-125m": "zoo/llama",
    "hmellor/tiny-random-LlamaForCausalLM": "zoo/llama",
    "openai-community/gpt2": "zoo/llama",
}
ADAPTERS = ("charent/self_cognition_Alice", "typeof/zephyr-7b-beta-lora")
"""LoRA adapters that tests download before they start a server; the server is started without them."""
CONTEXT = 16384
MOST_TOKENS = 200
"""Limit of an answer that sets none, which a server reads from generation_config.json; the models rarely stop."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
REVISION = "0" * 40


def build_hub(hub: Path) -> None:
    for name, model in MODELS.items():
        folder = _snapshot(hub, name)
        shutil.copytree(SHIPPED / model, folder)
        _update(folder / "config.json", max_position_embeddings=CONTEXT)
        _update(folder / "tokenizer_config.json", model_max_length=CONTEXT)
        _update(folder / "generation_config.json", max_new_tokens=MOST_TOKENS)
        (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    for name in ADAPTERS:
        _snapshot(hub, name).mkdir()


def _snapshot(hub: Path, name: str) -> Path:
    """Return the cache's folder for a repository's only revision; make its parents."""
    repository = hub / f"models--{name.replace('/', '--')}"
    for part in ("refs", "snapshots"):
        (repository / part).mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    return repository / "snapshots" / REVISION


def _update(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")
