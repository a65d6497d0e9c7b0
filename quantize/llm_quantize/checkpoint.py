"""The weights of a model folder, each read from its safetensors file when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_quantize.errors import ModelError

INDEX = "model.safetensors.index.json"
CHECKED = (torch.float16, torch.bfloat16, torch.float32)


class Weights(Protocol):
    """Tensors by name."""

    names: frozenset[str]

    def get(self, name: str) -> Tensor:
        """Return a tensor in the type in which it is stored. ModelError if there is none."""
        ...


class Checkpoint:
    """The safetensors files of a folder."""

    def __init__(self, folder: Path) -> None:
        """Look into the files. ModelError if there are none, or one is damaged."""
        self.folder = folder
        self._files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, framework="pt", device="cpu") as handle:
                    self._files.update(dict.fromkeys(handle.keys(), path))
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} is not a safetensors file: {error}") from None
        if not self._files:
            raise ModelError(f"{folder} has no safetensors files; other kinds of weights are not read")
        index = folder / INDEX
        missing = read_json(index)["weight_map"].keys() - self._files.keys() if index.is_file() else ()
        if missing:
            raise ModelError(f"{folder}: {INDEX} names {min(missing)}, but no file has it; fetch the model again")
        self.names = frozenset(self._files)

    def get(self, name: str) -> Tensor:
        if name not in self.names:
            raise ModelError(f"{self.folder}: the weights lack {name}")
        # A file that stays open keeps all of it that was read in memory.
        with safe_open(self._files[name], framework="pt", device="cpu") as handle:
            tensor: Tensor = handle.get_tensor(name)
        if tensor.dtype in CHECKED and not bool(tensor.isfinite().all()):
            raise ModelError(f"{self.folder}: {name} holds NaN or infinity, so it is damaged; fetch the model again")
        return tensor


def with_prefix(names: Iterable[str], prefix: str) -> list[str]:
    """Return the names below a module, sorted."""
    return sorted(name for name in names if name.startswith(f"{prefix}."))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. ModelError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object")
    return value
