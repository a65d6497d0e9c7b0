"""Quantise language models, and know what it cost.

    from pathlib import Path
    from llm_quantize import make_recipe, quantize

    quantize(Path("models/main"), Path("out/main-gptq"), make_recipe(method="gptq", group_size=128))

algorithms/    the mathematics, as functions of tensors, one method a module
calibration/   the text that a model reads while it is quantised
pipeline/      a model block by block, from folder to folder
formats/       how the codes are packed and described: compressed-tensors, GPTQ, AWQ
checkpoint     the weights of a folder
settings       the recipe
"""

from llm_quantize.errors import QuantizeError
from llm_quantize.formats import load_dequantized
from llm_quantize.pipeline import Progress, Record, quantize
from llm_quantize.settings import Recipe, make_recipe, read_recipe
from llm_quantize.version import __version__

__all__ = [
    "Progress", "QuantizeError", "Recipe", "Record", "__version__", "load_dequantized", "make_recipe", "quantize",
    "read_recipe",
]  # fmt: skip
