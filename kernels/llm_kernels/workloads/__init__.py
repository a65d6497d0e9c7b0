"""Inputs, costs and competitors of each op. Tests, checker and bench all draw from here."""

from llm_kernels.workloads.base import Cost, Workload
from llm_kernels.workloads.catalog import large, small

__all__ = ["Cost", "Workload", "large", "small"]
