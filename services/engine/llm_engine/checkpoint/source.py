"""Where weights come from: a folder's safetensors files, every shape checked, or a random generator."""

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
    """Tensors by name."""

    dtype: torch.dtype
    """The engine's."""

    def __contains__(self, name: str) -> bool: ...

    def get(self, name: str, *shape: int, raw: bool = False) -> Tensor:
        """On the device and, unless it is wanted `raw`, in the engine's type. ModelError if it is missing or shaped
        otherwise."""
        ...


class Checkpoint:
    """The tensors of a folder's safetensors files, read when asked for."""

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
                raise ModelError(f"{path} is no safetensors file: {error}") from None
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
    """Return whether all of it is finite. One pass at the speed of memory: a sum is finite only if its parts are."""
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return True
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def _weight_files(folder: Path, index: dict[str, str] | None) -> list[Path]:
    """Return the files of the model, and none that happens to lie in the same folder: transformers' choice.

    `model.safetensors` if it is there, else what the index names, else, without an index, all files.
    """
    if index is not None:
        paths = [folder / name for name in sorted(set(index.values()))]
        if missing := [path for path in paths if not path.is_file()]:
            raise ModelError(f"{folder}: {INDEX} names {missing[0].name}, which is not there")
        return paths
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder} has no *.safetensors file with weights")
    return paths


def _read_index(folder: Path) -> dict[str, str] | None:
    """Return tensor -> file name; None if there is no index, or a single file that goes before it."""
    if (folder / SINGLE).is_file() or not (folder / INDEX).is_file():
        return None
    weights = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise ModelError(f"{folder / INDEX} has no weight_map")
    return {str(tensor): Path(str(file)).name for tensor, file in weights.items()}


class RandomWeights:
    """Any tensor that is asked for: `--load-format dummy`. The norms are ones, and small numbers all the rest."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._generator = torch.Generator(device).manual_seed(0)

    def __contains__(self, name: str) -> bool:
        return False

    def get(self, name: str, *shape: int, raw: bool = False) -> Tensor:
        tensor = torch.empty(shape, dtype=self.dtype, device=self._generator.device)
        return tensor.fill_(1) if "norm" in name else tensor.normal_(0, 0.02, generator=self._generator)
