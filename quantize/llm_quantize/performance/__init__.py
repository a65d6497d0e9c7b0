"""How large and how fast a model is, served as users would meet it.

figures    size, memory, and latency and throughput at each batch size, with the range of the runs
measure    start our engine on a folder, or take a server by URL, and load it with llm-bench
recorded   kernel times that a GPU machine left in a results file: shown by themselves, never with a CPU's figures
"""

from llm_quantize.performance.figures import BatchFigures, Performance, Spread
from llm_quantize.performance.measure import measure
from llm_quantize.performance.recorded import KernelRow, KernelTable, read_kernel_table

__all__ = ("BatchFigures", "KernelRow", "KernelTable", "Performance", "Spread", "measure", "read_kernel_table")
