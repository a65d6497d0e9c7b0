"""Quantise language models, and know what it cost.

    from pathlib import Path
    from llm_quantize import compare, evaluate, make_recipe, quantize

    full, small = Path("models/main"), Path("out/main-gptq")
    quantize(full, small, make_recipe(method="gptq"))
    for change in compare(evaluate(full), evaluate(small)):
        print(change.benchmark, change.change, change.verdict)

algorithms/    the mathematics, as functions of tensors, one method a module
calibration/   the text that a model reads while it is quantised
pipeline/      a model block by block, from folder to folder
formats/       how the codes are packed and described: compressed-tensors, GPTQ, AWQ
evaluation/    how good a model is, and whether another is worse
performance/   how large and how fast it is behind a server
report/        which method to use, on one page
study          all of that for one model and several methods
checkpoint     the weights of a folder
settings       the recipe
commands/      the commands' arguments and work; cli joins them
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llm_quantize.errors import QuantizeError
from llm_quantize.version import __version__

if TYPE_CHECKING:
    from llm_quantize.evaluation import Comparison, Evaluation, compare, evaluate
    from llm_quantize.formats import load_dequantized
    from llm_quantize.pipeline import Progress, Record, quantize
    from llm_quantize.settings import Recipe, make_recipe, read_recipe

__all__ = [
    "Comparison", "Evaluation", "Progress", "QuantizeError", "Recipe", "Record", "__version__", "compare", "evaluate",
    "load_dequantized", "make_recipe", "quantize", "read_recipe",
]  # fmt: skip
_MODULES = {
    **dict.fromkeys(("Comparison", "Evaluation", "compare", "evaluate"), "evaluation"),
    **dict.fromkeys(("Progress", "Record", "quantize"), "pipeline"),
    **dict.fromkeys(("Recipe", "make_recipe", "read_recipe"), "settings"),
    "load_dequantized": "formats",
}


def __getattr__(name: str) -> Any:
    """Import on first use. Torch and transformers take seconds to import; a wrong flag does without them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
