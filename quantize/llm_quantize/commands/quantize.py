"""`llm-quantize quantize`: its arguments and its work."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tqdm import tqdm

from llm_quantize.commands.arguments import Subparsers
from llm_quantize.settings import FormatName, MethodName, Recipe, make_recipe, read_recipe

if TYPE_CHECKING:
    from llm_quantize.pipeline import Progress, Record

CALIBRATION = ("samples", "length", "seed", "text")


def add_quantize(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("quantize", help="write a quantised copy of a model")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a Hugging Face folder with safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write; must not exist")
    parser.add_argument("--recipe", type=Path, metavar="FILE.yaml", help="a recipe; flags win over it")
    parser.add_argument("--method", choices=get_args(MethodName), help="default: gptq")
    parser.add_argument("--format", choices=get_args(FormatName), help="default: compressed-tensors")
    parser.add_argument("--bits", type=int, help=_description("bits"))
    parser.add_argument("--group-size", type=int, help=_description("group_size"))
    for name in ("symmetric", "act-order", "clip-search"):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=_description(name))
    parser.add_argument("--damping", type=float, help=_description("damping"))
    parser.add_argument("--keep", type=float, metavar="SHARE", help=_description("keep"))
    parser.add_argument("--ignore", action="append", metavar="PART", help=_description("ignore"))
    parser.add_argument("--kv-cache", choices=("fp8",), help=_description("kv_cache"))
    text = parser.add_argument_group("calibration")
    text.add_argument("--text", type=Path, metavar="PATH", help="a file, or a folder of .txt, .md and .py")
    text.add_argument("--samples", type=int, help="sequences (default: 128)")
    text.add_argument("--length", type=int, help="tokens of a sequence (default: 512)")
    text.add_argument("--seed", type=int, help="seed of the choice of sequences (default: 0)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left")
    parser.set_defaults(run=run_quantize, resumption="; the same command with --resume goes on")


def _description(name: str) -> str:
    return Recipe.model_fields[name.replace("-", "_")].description or ""


def run_quantize(asked: argparse.Namespace) -> int:
    recipe = _recipe(asked)
    # Imported here because torch and transformers take seconds, and a wrong recipe should fail at once.
    from llm_quantize.pipeline import quantize

    with tqdm(unit="block", disable=not sys.stderr.isatty()) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.blocks
            bar.set_postfix_str(f"relative error {progress.relative_error:.2e}")
            bar.update()

        record = quantize(asked.model, asked.out, recipe, device=asked.device, progress=show, resume=asked.resume)
    print(_summary(asked.out, record))
    return 0


def _recipe(asked: argparse.Namespace) -> Recipe:
    """Return the recipe of the file, changed by the flags that were given."""
    given: dict[str, Any] = {}
    if asked.recipe is not None:
        given = read_recipe(asked.recipe).model_dump(exclude_unset=True)
    flags = {name: value for name, value in vars(asked).items() if value is not None}
    given |= {name: flags[name] for name in Recipe.model_fields if name in flags and name != "calibration"}
    given["calibration"] = given.get("calibration", {}) | {name: flags[name] for name in CALIBRATION if name in flags}
    return make_recipe(**given)


def _summary(out: Path, record: Record) -> str:
    """Return what a person wants to know at the end."""
    worst = max(record.layers, key=lambda layer: layer.relative_error)
    lines = [
        f"{out}: {record.weight_bytes / 1e6:,.1f} MB of weights, {len(record.layers)} layers, {record.seconds:.1f} s, "
        f"{record.peak_bytes / 1e6:,.0f} MB of memory at most",
        f"largest relative error of {worst.error_of}: {worst.relative_error:.2e}, {worst.name}",
    ]
    if record.kept:
        lines.append(f"16 bits: {', '.join(record.kept)}")
    warnings = record.calibration["warnings"] if record.calibration else []
    return "\n".join([*lines, *(f"warning: {each}" for each in warnings)])
