"""A workload: an op, its inputs, the least that it can cost, and the other implementations that compute it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.dispatch import Args

Make = Callable[[torch.Generator, torch.device], Args]


@dataclass(frozen=True)
class Cost:
    """The least an op can do: each input read once, each output written once, each operation done once."""

    bytes: float
    flops: float = 0
    unit: str = "bf16"
    """Which rate the operations run at: bf16, int8, fp8 (tensor cores) or fp32."""


@dataclass(frozen=True)
class Workload:
    op: str
    label: str
    dtype: torch.dtype
    make: Make
    """Fresh inputs from a seeded CPU generator, on the device."""
    cost: Cost = field(default_factory=lambda: Cost(0))
    native: Callable[..., Any] | None = None
    """PyTorch's own way at the same dtype, which errors are compared with; None: the reference."""
    libraries: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Competitors on a GPU, for the bench; each takes the op's arguments."""
    verify: Callable[[Args, Any], str | None] | None = None
    """For results that are not compared element by element: what is wrong, or None."""
    slack: float = 0.0
    """Added to the allowed error, relative to the largest output; for hardware that rounds inside the sum."""

    @property
    def name(self) -> str:
        return f"{self.op} {self.label} {short(self.dtype)}"

    def inputs(self, seed: int, device: torch.device | str = "cpu") -> Args:
        return self.make(torch.Generator().manual_seed(seed), torch.device(device))

    def definition(self) -> dispatch.Op:
        return dispatch.get(self.op)


class Compiled:
    """torch.compile of a function, at its first call: importing dynamo takes seconds."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        if self._compiled is None:
            self._compiled = torch.compile(self._function, dynamic=False)
        return self._compiled(*args)


def short(dtype: torch.dtype) -> str:
    names = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float8_e4m3fn: "fp8"}
    return names.get(dtype, str(dtype).removeprefix("torch."))


def normal(
    generator: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, scale: float = 1.0
) -> Tensor:
    """Draw a normal tensor. Large ones are drawn on the device, seeded by the generator: the host would take seconds.

    On the device `meta` a tensor has only its shape, which is enough to compile kernels.
    """
    if device.type == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cuda":
        there = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        drawn = torch.randn(shape, generator=there, device=device, dtype=dtype)
        return drawn if scale == 1 else drawn.mul_(scale)
    return (torch.randn(shape, generator=generator) * scale).to(dtype)


def integers(
    generator: torch.Generator, low: int, high: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    if device.type == "meta":
        return torch.empty(shape, dtype=dtype, device=device)
    if device.type == "cuda":
        there = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        return torch.randint(low, high, shape, generator=there, device=device, dtype=dtype)
    return torch.randint(low, high, shape, generator=generator, dtype=dtype)


def uniform(generator: torch.Generator, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator).to(device)


def clone(args: Args) -> Args:
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


def to_double(args: Args) -> Args:
    """Return the arguments of the exact run: every float of 16 bits or more as float64."""
    wide = (torch.float16, torch.bfloat16, torch.float32)
    return tuple(
        a.double() if isinstance(a, Tensor) and a.dtype in wide else torch.float64 if a in wide else a for a in args
    )


def outputs(op: dispatch.Op, args: Args, result: Any) -> tuple[Tensor, ...]:
    """Return the result of a call: its return value, or the arguments that it changed."""
    if op.mutates:
        return tuple(args[place] for place in op.mutates)
    return result if isinstance(result, tuple) else (result,)
