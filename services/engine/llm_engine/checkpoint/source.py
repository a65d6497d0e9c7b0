"""Where weights come from: a folder's safetensors files, every shape checked, or a random generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llm_engine.errors import ModelError


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
        for path in sorted(folder.glob("*.safetensors")):
            try:
                handle: Any = safe_open(path, framework="pt", device="cpu")
            except (OSError, SafetensorError) as error:
                raise ModelError(f"{path} is no safetensors file: {error}") from None
            self._files.update(dict.fromkeys(handle.keys(), handle))
        if not self._files:
            raise ModelError(f"{folder} has no *.safetensors file with weights")

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
        return tensor.to(self._device, None if raw else self.dtype)


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
