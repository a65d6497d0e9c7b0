"""What each op is tested and measured on: inputs, costs, competitors. Tests, checker and bench all draw from here."""

from llm_kernels.workloads.base import Cost, Workload
from llm_kernels.workloads.catalog import large, small

__all__ = ["Cost", "Workload", "large", "small"]
