"""The model folder: on this machine, or fetched from the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_engine.errors import ModelError


def resolve_model(name: str) -> Path:
    """Return the model's folder; fetch it from the Hugging Face hub if `name` is no path. ModelError if it fails."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} is no model folder: it has no config.json")
        return path
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise ModelError(f"{name} is neither a model folder nor a name on the Hugging Face hub (owner/name)")
    return _download(name)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object. ModelError if it does not."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return value


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download  # comes with transformers; pants: no-infer-dep

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{name} is no folder and could not be fetched from the Hugging Face hub: {reason}") from None
