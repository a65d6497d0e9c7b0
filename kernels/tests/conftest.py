"""Kernels run on the GPU where there is one; else Triton's interpreter runs them on the CPU."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
