"""CUDA and Triton kernels for LLM inference, each with a reference that runs anywhere.

    import torch
    from llm_kernels import ops
    y = ops.rms_norm(x, weight)        # the best implementation for x's device; the reference on a CPU

`llm-kernels explain rms_norm --shape 8192x4096` says which implementation runs where, and why.
"""

from llm_kernels import ops
from llm_kernels.errors import BuildError, KernelError, UnsupportedInput

__all__ = ["BuildError", "KernelError", "UnsupportedInput", "ops"]
