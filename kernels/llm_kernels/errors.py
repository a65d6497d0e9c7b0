"""The errors of this package.

KernelError
├── UnsupportedInput   (also a ValueError)    an op does not take this shape, dtype or value
└── BuildError         (also a RuntimeError)  a CUDA or C++ source could not be compiled or loaded
"""

from __future__ import annotations


class KernelError(Exception):
    """Any error that this package raises on purpose."""


class UnsupportedInput(KernelError, ValueError):
    """An input that an op does not take; the message names it, and what the op takes."""


class BuildError(KernelError, RuntimeError):
    """The message contains the compiler's own words."""
