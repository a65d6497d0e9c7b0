"""Sources of weights: the safetensors files of a folder, with every shape checked, or a random generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_engine.checkpoint.folder import read_json
from llm_engine.errors import ModelError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Source(Protocol):
    """The tensors of a model, by name."""

    dtype: torch.dtype
    """The engine's type."""

    def __contains__(self, name: str) -> bool: ...

    def get(self, name: str, *shape: int, raw: bool = False) -> Tensor:
        """Return a tensor on the device, in the engine's type unless `raw`. ModelError if it or its shape is wrong."""
        ...


class Checkpoint:
    """The tensors of a folder's safetensors files, each read on demand."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._folder = folder
        self._device = device
        self._files: dict[str, Any] = {}
        index = _read_index(folder)
        for path in _weight_files(folder, index):
            try:
                handle: Any = safe_open(path, framework="pt", device="cpu")
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} is not a safetensors file: {error}") from None
            names = [name for name in handle.keys() if index is None or index.get(name) == path.name]  # noqa: SIM118
            if twice := self._files.keys() & names:
                raise ModelError(f"{folder}: {min(twice)} is in two files; keep the files of one checkpoint only")
            self._files.update(dict.fromkeys(names, handle))
        if index is not None and (missing := index.keys() - self._files.keys()):
            name = min(missing)
            raise ModelError(f"{folder}: {INDEX} says that {name} is in {index[name]}, but it is not")

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str, *shape: int, raw: bool = False) -> Tensor:
        if name not in self._files:
            raise ModelError(f"{self._folder}: the weights lack {name}")
        tensor: Tensor = self._files[name].get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"{self._folder}: {name} has shape {tuple(tensor.shape)}, but config.json asks for {shape}"
            )
        if not raw and not tensor.is_floating_point():
            raise ModelError(f"{self._folder}: {name} is {tensor.dtype}, but config.json has no quantization for it")
        if not _is_finite(tensor):
            raise ModelError(
                f"{self._folder}: {name} holds NaN or infinity, so the checkpoint is damaged; fetch it again"
            )
        return tensor.to(self._device, None if raw else self.dtype)


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite. The sum, one pass at memory speed, is finite only if all values are."""
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return True
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def _weight_files(folder: Path, index: dict[str, str] | None) -> list[Path]:
    """Return the weight files, chosen as in transformers. Other files in the folder are left alone.

    `model.safetensors` if it exists, else the files in the index, else (without an index) all safetensors files.
    """
    if index is not None:
        paths = [folder / name for name in sorted(set(index.values()))]
        if missing := [path for path in paths if not path.is_file()]:
            raise ModelError(f"{folder}: {INDEX} names {missing[0].name}, which does not exist")
        return paths
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder} has no *.safetensors file with weights")
    return paths


def _read_index(folder: Path) -> dict[str, str] | None:
    """Return the index, tensor -> file name. None if there is none, or a single file that takes precedence."""
    if (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return None
    weights = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise ModelError(f"{folder / INDEX} has no weight_map")
    return {str(tensor): Path(str(file)).name for tensor, file in weights.items()}


class RandomWeights:
    """Random tensors, for `--load-format dummy`. Norms are ones, all other values are small."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._generator = torch.Generator(device).manual_seed(0)

    def __contains__(self, name: str) -> bool:
        return False

    def get(self, name: str, *shape: int, raw: bool = False) -> Tensor:
        tensor = torch.empty(shape, dtype=self.dtype, device=self._generator.device)
        return tensor.fill_(1) if "norm" in name else tensor.normal_(0, 0.02, generator=self._generator)
