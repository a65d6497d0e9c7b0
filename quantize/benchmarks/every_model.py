"""Perplexity of every shipped model by every method: the main model and the zoo's six families.

    python quantize/benchmarks/every_model.py [--out DIR] [MODEL ...]

Groups have 128 inputs, or 32 for the zoo, whose layers are too narrow; 32 x 512 calibration tokens. The main model
reads the whole held-out text, the others a part of it. `--out` keeps the quantised models, and a run that was
interrupted goes on. MODEL is the folder of another model; its groups have 64 inputs.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from llm_measure.processes import ROOT
from llm_measure.results import machine, write
from llm_quantize.report.judgement import Judged, judge
from llm_quantize.report.results import read_results
from llm_quantize.settings import METHODS, make_recipe
from llm_quantize.study import EvaluationSettings, Listener, Study, run_study

MAIN = ROOT / "models" / "main"
FAMILIES = ("gemma", "llama", "mistral", "phi3", "qwen2", "qwen3")
ITEMS = {MAIN.parent: None, MAIN.parent / "zoo": 128}
"""Pieces of text for the models of a folder; None: all."""
OTHER_ITEMS = 32
"""For a model that is not shipped, such as SmolLM2, which is slow on a CPU."""
SAMPLES = 32


def group_size(model: Path) -> int:
    return 128 if model == MAIN else 32 if model.parent.name == "zoo" else 64


def study(model: Path, out: Path) -> Study:
    """Return the study of a model: all methods with their defaults."""
    sizes = {name: None if method.inputs else group_size(model) for name, method in METHODS.items()}
    items = OTHER_ITEMS if group_size(model) == 64 else ITEMS[model.parent]
    calibration = {"samples": SAMPLES}
    return Study(
        model=model,
        out=out,
        recipes={
            name: make_recipe(method=name, group_size=size, calibration=calibration) for name, size in sizes.items()
        },
        evaluation=EvaluationSettings(benchmarks=("perplexity",), items=items),
    )


def describe(one: Judged) -> dict[str, Any]:
    """Return a method's figures; `change` is that of perplexity with the ends of its interval."""
    loss = one.primary.loss
    return {
        "weight_bytes": one.result.bytes,
        "perplexity": one.primary.b,
        "change": [loss.value, loss.low, loss.high],
        "shown": one.primary.shown,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("others", type=Path, nargs="*", metavar="MODEL", help="another model folder")
    parser.add_argument("--out", type=Path, help="where the models are kept (default: they are not)")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "models": {}}
    models = [MAIN, *(ROOT / "models" / "zoo" / family for family in FAMILIES), *asked.others]
    with tempfile.TemporaryDirectory(prefix="llm-quantize-") as scratch:
        out = asked.out or Path(scratch)
        for model in models:
            run_study(study(model, out), Listener(done=partial(print, model.name, flush=True)))
        for judgement in judge(read_results(out)):
            full = judgement.full
            found["models"][judgement.model] = {
                "weight_bytes": full.bytes,
                "perplexity": full.evaluation.scores["perplexity"].figure().value,
                "items": len(full.evaluation.scores["perplexity"].items),
                "methods": {one.method: describe(one) for one in judgement.methods},
            }
    print(write(__file__, found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
