"""`llm-quantize run`: from a model to the report, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from llm_quantize.commands.arguments import Subparsers, count, counts, names, positive, show_progress
from llm_quantize.errors import RecipeError
from llm_quantize.settings import METHODS, MethodName, Recipe, make_recipe, read_recipe

if TYPE_CHECKING:
    from llm_quantize.study import Study

FULL = "full"
"""The model as it is; no recipe can have this name."""


def add_run(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("run", help="quantise by several methods, evaluate, measure and report")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a Hugging Face folder with safetensors")
    methods = ", ".join(get_args(MethodName))
    parser.add_argument("--methods", type=names, default=(), metavar="A,B", help=f"of {methods}")
    recipe = "a recipe, which its file names; repeatable"
    parser.add_argument("--recipe", type=Path, action="append", default=[], metavar="FILE.yaml", help=recipe)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="all results, and the report")
    parser.add_argument("--eval", action="store_true", help="evaluate the full model and each result, and report")
    parser.add_argument("--bench", action="store_true", help="measure size and speed behind our engine with llm-bench")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    _add_settings(parser)
    parser.set_defaults(run=run_run, resumption="; the same command goes on")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the recipes of --methods")
    group.add_argument("--group-size", type=int, metavar="N", help="inputs that share a scale (default: the method's)")
    group.add_argument("--samples", type=count, metavar="N", help="calibration sequences (default: 128)")
    group.add_argument("--length", type=count, metavar="N", help="tokens of a sequence (default: 512)")
    group = parser.add_argument_group("with --eval")
    group.add_argument("--benchmark", action="append", dest="benchmarks", metavar="NAME", help="as of `evaluate`")
    group.add_argument("--text", type=Path, help="held-out Python source (default: models/eval/heldout.txt)")
    group.add_argument("--items", type=count, metavar="N", help="at most this many items of each benchmark")
    group = parser.add_argument_group("with --bench")
    group.add_argument("--batches", type=counts, default=(1, 8, 64), metavar="N,N", help="default: 1,8,64")
    group.add_argument("--runs", type=count, default=3, metavar="N", help="of each batch (default: 3)")
    group.add_argument("--seconds", type=positive, default=8.0, metavar="S", help="of a run (default: 8)")
    group.add_argument("--threads", type=count, default=1, metavar="N", help="of the engine (default: 1)")


def run_run(asked: argparse.Namespace) -> int:
    recipes = _recipes(asked)
    from llm_quantize.study import Listener, run_study

    study = _study(asked, recipes)
    page = run_study(study, Listener(done=_say, progress=show_progress))
    print(f"Report: {page}" if page else f"Results: {study.root} (with --eval there is a report)")
    return 0


def _study(asked: argparse.Namespace, recipes: dict[str, Recipe]) -> Study:
    from llm_quantize.study import EvaluationSettings, LoadSettings, Study

    benchmarks = tuple(asked.benchmarks) if asked.benchmarks else None
    evaluation = EvaluationSettings(benchmarks=benchmarks, text=asked.text, items=asked.items)
    load = {name: getattr(asked, name) for name in ("batches", "runs", "seconds", "threads")}
    return Study(
        model=asked.model,
        out=asked.out,
        recipes=recipes,
        evaluation=evaluation if asked.eval else None,
        load=LoadSettings(**load) if asked.bench else None,
        device=asked.device,
    )


def _recipes(asked: argparse.Namespace) -> dict[str, Recipe]:
    """Return the recipes by name. RecipeError if there is none, or two of one name."""
    found = [(method, _recipe(method, asked)) for method in asked.methods]
    found += [(file.stem, read_recipe(file)) for file in asked.recipe]
    taken = [name for name, _ in found] + [FULL]
    if not found:
        raise RecipeError("nothing to do: name methods (--methods gptq,awq) or a recipe (--recipe FILE.yaml)")
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise RecipeError(f"{twice[0]} is the name of two results; name a method once, or rename the recipe file")
    return dict(found)


def _recipe(method: str, asked: argparse.Namespace) -> Recipe:
    given: dict[str, Any] = {"method": method}
    calibration = {name: getattr(asked, name) for name in ("samples", "length") if getattr(asked, name) is not None}
    if method in METHODS and METHODS[method].inputs is None:
        given["group_size"] = asked.group_size
    return make_recipe(**given, calibration=calibration)


def _say(method: str, what: str) -> None:
    print(f"{method}: {what}", flush=True)
