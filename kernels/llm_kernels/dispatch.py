"""The choice of an op's implementation: the first that supports the arguments, in the op's order of preference.

    device, capability, dtype, shape  ->  cuda | triton | reference

`LLM_KERNELS_IMPL` overrides it: `triton` for all ops, or `rms_norm=cuda,softmax=reference` op by op. A named
implementation that does not support the arguments raises an error; it never falls back silently. Without a GPU every op
runs its reference, and the logger `llm_kernels` says so once. With TRITON_INTERPRET=1 Triton runs on a CPU, for tests.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llm_kernels.errors import UnsupportedInput

log = logging.getLogger("llm_kernels")

Args = tuple[Any, ...]


@dataclass(frozen=True)
class Implementation:
    name: str
    """cuda, triton or reference."""
    run: Callable[..., Any]
    refuses: Callable[..., str | None] = lambda *args: None
    """Returns why the implementation does not support the arguments, or None if it does."""
    capability: tuple[int, int] = (0, 0)
    """Lowest compute capability; (0, 0): any device."""
    exact_capability: bool = False
    """Whether it runs on this capability only (instructions such as wgmma exist on sm_90a alone)."""


@dataclass(frozen=True)
class Op:
    """An op and its implementations, best first; the last is the reference, which supports all that `check` accepts."""

    name: str
    check: Callable[..., None]
    """Raises UnsupportedInput."""
    implementations: tuple[Implementation, ...]
    mutates: tuple[int, ...] = ()
    """Indexes of the arguments that are written to."""

    def __call__(self, *args: Any) -> Any:
        self.check(*args)
        return self.select(args).run(*args)

    def select(self, args: Args) -> Implementation:
        wanted = _override(self.name)
        for implementation in self.implementations:
            if wanted not in (None, implementation.name):
                continue
            reason = why_not(implementation, args)
            if reason is None:
                return implementation
            if wanted is not None:
                raise UnsupportedInput(f"{self.name}: LLM_KERNELS_IMPL asks for {wanted}, which cannot run: {reason}")
        names = ", ".join(i.name for i in self.implementations)
        raise UnsupportedInput(f"{self.name}: LLM_KERNELS_IMPL asks for {wanted}; it has {names}")

    def __getitem__(self, name: str) -> Implementation:
        for implementation in self.implementations:
            if implementation.name == name:
                return implementation
        raise KeyError(f"{self.name} has no implementation {name!r}")

    @property
    def reference(self) -> Callable[..., Any]:
        return self.implementations[-1].run

    def explain(self, args: Args) -> list[tuple[str, str]]:
        """Return (implementation, verdict) in order of preference; the chosen one's verdict is `runs`."""
        rows, chosen = [], False
        for implementation in self.implementations:
            reason = why_not(implementation, args)
            if reason is None and not chosen:
                chosen, reason = True, "runs"
            rows.append((implementation.name, reason or "would run too"))
        return rows


@dataclass
class Registry:
    ops: dict[str, Op] = field(default_factory=dict)

    def define(
        self,
        name: str,
        *,
        check: Callable[..., None],
        reference: Callable[..., Any],
        triton: Callable[..., Any] | None = None,
        triton_refuses: Callable[..., str | None] = lambda *args: None,
        cuda: Implementation | None = None,
        mutates: tuple[int, ...] = (),
    ) -> Op:
        implementations = [] if cuda is None else [cuda]
        if triton is not None:
            implementations.append(Implementation("triton", triton, triton_refuses, capability=(8, 0)))
        implementations.append(Implementation("reference", reference))
        self.ops[name] = Op(name, check, tuple(implementations), mutates)
        return self.ops[name]


REGISTRY = Registry()
define = REGISTRY.define


def get(name: str) -> Op:
    if name not in REGISTRY.ops:
        raise UnsupportedInput(f"there is no op {name!r}; there are {', '.join(sorted(REGISTRY.ops))}")
    return REGISTRY.ops[name]


def why_not(implementation: Implementation, args: Args) -> str | None:
    """Return why the implementation cannot run these arguments here; None if it can."""
    if implementation.name == "reference":
        return None
    tensor = next(a for a in args if isinstance(a, Tensor))
    if any(isinstance(a, Tensor) and a.dtype == torch.float64 for a in args):
        return "float64 is for the reference"
    if (reason := _why_not_here(implementation, tensor.device)) is not None:
        return reason
    return implementation.refuses(*args)


def _why_not_here(implementation: Implementation, device: torch.device) -> str | None:
    if implementation.name == "triton" and not has_triton():
        return "triton is not installed"
    if device.type == "cuda":
        have = torch.cuda.get_device_capability(device)
        if have < implementation.capability or (implementation.exact_capability and have != implementation.capability):
            need = ".".join(map(str, implementation.capability))
            return f"needs compute capability {need}, the device has {have[0]}.{have[1]}"
        if implementation.name == "cuda" and (reason := _no_compiler()) is not None:
            return reason
        return None
    if implementation.name == "triton" and interpreting() and _override_any():
        return None
    _say_once_no_gpu()
    return f"needs a GPU, the tensors are on {device.type}"


def _no_compiler() -> str | None:
    from llm_kernels.cuda.build import why_no_compiler

    return why_no_compiler()


@functools.cache
def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def interpreting() -> bool:
    """Return whether Triton's interpreter is on: kernels then run on the CPU, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def _override_any() -> bool:
    return "LLM_KERNELS_IMPL" in os.environ


def _override(op: str) -> str | None:
    """Return the override for an op from LLM_KERNELS_IMPL; an entry that names the op wins."""
    everywhere = None
    for part in os.environ.get("LLM_KERNELS_IMPL", "").replace(" ", "").split(","):
        name, equals, implementation = part.partition("=")
        if equals and name == op:
            return implementation
        if not equals and name:
            everywhere = name
    return everywhere


@functools.cache
def _say_once_no_gpu() -> None:
    log.warning("no GPU for these tensors: every op runs its reference, in plain torch")
