"""The report's tables, for the page and for Markdown alike: cells of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_quantize.evaluation import Comparison
from llm_quantize.evaluation.scores import Scores, find_benchmark
from llm_quantize.performance import BatchFigures, Performance
from llm_quantize.report.judgement import Judged, ModelJudgement, change_of, interval
from llm_quantize.report.results import FULL, ModelResult
from llm_report import units


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, lines below it, and a verdict that colours it."""

    value: str
    below: str = ""
    verdict: str = ""

    @property
    def css(self) -> str:
        return {"worse": "invalid", "better": "valid"}.get(self.verdict, "")


EMPTY = Cell(units.MISSING)
Table = list[tuple[str, list[Cell]]]
"""Rows: a name and its cells."""


def matrix(judgements: Sequence[ModelJudgement]) -> Table:
    """Return methods x models: the primary benchmark's change with its interval, and the size."""
    methods = list(dict.fromkeys(one.method for each in judgements for one in each.methods))
    rows: Table = [(FULL, [_full_cell(each) for each in judgements])]
    for method in methods:
        by_model = [next((one for one in each.methods if one.method == method), None) for each in judgements]
        rows.append((method, [_matrix_cell(one) if one else EMPTY for one in by_model]))
    return rows


def _full_cell(judgement: ModelJudgement) -> Cell:
    name = judgement.methods[0].primary.benchmark if judgement.methods else next(iter(judgement.full.evaluation.scores))
    figure = judgement.full.evaluation.scores[name].figure()
    return Cell(f"{figure.value:.4g}", f"{name}, {units.size(judgement.full.bytes)}")


def _matrix_cell(one: Judged) -> Cell:
    return Cell(
        change_of(one.primary),
        f"{interval(one.primary)}\n{units.ratio(one.smaller)} smaller",
        one.primary.verdict,
    )


def benchmarks(judgement: ModelJudgement) -> tuple[list[str], Table]:
    """Return the titles of a model's benchmarks, and a row for the full model and each method."""
    names = list(
        dict.fromkeys(
            name
            for result in (judgement.full, *(one.result for one in judgement.methods))
            for name in result.evaluation.scores
        )
    )
    rows: Table = [(FULL, [_figure(judgement.full, name) for name in names])]
    for one in judgement.methods:
        rows.append((one.method, [_benchmark_cell(one, name) for name in names]))
    return [find_benchmark(name).title for name in names], rows


def _benchmark_cell(one: Judged, name: str) -> Cell:
    comparison = one.comparisons.get(name)
    if comparison is None:
        return _figure(one.result, name)
    below = f"{change_of(comparison)}, p {p_value(comparison)}\n{interval(comparison)}"
    return Cell(show_figure(one.result.evaluation.scores[name], comparison.b), below, comparison.verdict)


def _figure(result: ModelResult, name: str) -> Cell:
    scores = result.evaluation.scores.get(name)
    if scores is None:
        return EMPTY
    figure = scores.figure()
    ends = f"{show_figure(scores, figure.low)} … {show_figure(scores, figure.high)}"
    return Cell(show_figure(scores, figure.value), f"n = {len(scores.items)}\n{ends}")


def speeds(judgement: ModelJudgement) -> dict[str, tuple[list[str], Table]]:
    """Return heads and rows of a model's speeds by server and machine: two machines never share a table."""
    found: dict[str, list[tuple[ModelResult, Performance]]] = {}
    for result in (judgement.full, *(one.result for one in judgement.methods)):
        if result.performance is not None:
            place = f"{result.performance.server} on {result.performance.device}"
            found.setdefault(place, []).append((result, result.performance))
    return {place: _speed_table(measured) for place, measured in found.items()}


def _speed_table(measured: Sequence[tuple[ModelResult, Performance]]) -> tuple[list[str], Table]:
    batches = sorted({each.batch for _, one in measured for each in one.batches})
    heads = ["On disk", "In memory", *(f"{what}, batch {batch}" for batch in batches for what in ("Token", "Tokens/s"))]
    rows: Table = []
    for result, one in measured:
        cells = [Cell(units.size(one.weight_bytes)), Cell(units.size(one.resident_bytes))]
        rows.append((result.method, [*cells, *(cell for batch in batches for cell in _speed_cells(one.at(batch)))]))
    return heads, rows


def _speed_cells(found: BatchFigures | None) -> list[Cell]:
    if found is None:
        return [EMPTY, EMPTY]
    tpot, rate = found.tpot, found.output_tokens_per_second
    return [
        Cell(milliseconds(tpot.median), f"{milliseconds(tpot.low)} … {milliseconds(tpot.high)}"),
        Cell(units.rate(rate.median), f"{units.rate(rate.low)} … {units.rate(rate.high)}"),
    ]


def milliseconds(seconds: float) -> str:
    """Format the time of a token with three digits."""
    return f"{seconds * 1e3:.3g} ms"


def show_figure(scores: Scores, value: float) -> str:
    """Format a benchmark's figure: shares in percent, all else with four digits."""
    spec = scores.spec
    is_share = spec.scale == "mean" and spec.higher_is_better
    return f"{100 * value:.1f}%" if is_share else f"{value:.4g}"


def p_value(one: Comparison) -> str:
    """Return `= 0.03`, `< 0.001`."""
    return "< 0.001" if one.p_value < 0.001 else f"= {one.p_value:.3f}" if one.p_value < 0.1 else f"= {one.p_value:.2f}"
