"""Ladders: one problem, solved in rungs, each faster than the one before. The rungs are in `kernels/ladders/`.

A rung is one file: CUDA (`NN_name.cu`, which exports `launch`) or Python (`NN_name.py`, which defines `launch`). All
rungs of a ladder take the same arguments; the last tensors are outputs.
"""

from llm_kernels.ladders.base import Ladder, Rung, rungs_of
from llm_kernels.ladders.problems import LADDERS

__all__ = ["LADDERS", "Ladder", "Rung", "rungs_of"]
