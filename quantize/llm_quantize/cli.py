"""The command line.

llm-quantize quantize models/main --method gptq --out out/main-gptq
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tqdm import tqdm

from llm_quantize.errors import QuantizeError
from llm_quantize.settings import FormatName, MethodName, Recipe, make_recipe, read_recipe
from llm_quantize.version import __version__

if TYPE_CHECKING:
    from llm_quantize.pipeline import Progress, Record

PROG = "llm-quantize"
DONE, FAILED, INTERRUPTED = 0, 1, 130
CALIBRATION = ("samples", "length", "seed", "text")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0: done; 1: failed (the reason is on stderr); 2: wrong usage; 130: interrupted.
    """
    parser = _parser()
    asked = parser.parse_args(argv)
    if asked.command is None:
        parser.print_help()
        return DONE
    try:
        status: int = asked.command(asked)
    except QuantizeError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"{PROG}: interrupted; the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Quantise a language model.",
        epilog=f"A first try: {PROG} quantize models/main --method gptq --out out/main-gptq",
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_quantize(commands.add_parser("quantize", help="write a quantised copy of a model"))
    return parser


def _add_quantize(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(command=_quantize)


def _description(name: str) -> str:
    return Recipe.model_fields[name.replace("-", "_")].description or ""


def _quantize(asked: argparse.Namespace) -> int:
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
    return DONE


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
