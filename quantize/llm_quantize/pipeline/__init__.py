"""The pipeline: a model's folder in, a quantised folder out, one block in memory at a time.

skeleton    a model without weights, into which blocks are loaded
block       one block, and the statistics of what its layers read
structure   which layer reads what
smoothing   scale channels, for AWQ and SmoothQuant
methods     quantise a block's layers
rotated     a checkpoint seen through a rotation
walk        block by block: quantise, measure, write
output      the folder, atomic and resumable
record      what was done, as JSON
"""

from llm_quantize.pipeline.record import LayerRecord, Record
from llm_quantize.pipeline.walk import Progress, quantize

__all__ = ["LayerRecord", "Progress", "Record", "quantize"]
