"""The checker of kernels: what a submitted kernel must survive before its speed is looked at."""

from llm_kernels.check.checker import Finding, check_file, check_kernel

__all__ = ["Finding", "check_file", "check_kernel"]
