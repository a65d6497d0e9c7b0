"""The HTML page: one file, nothing fetched. Its template is page.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from llm_quantize.performance import KernelTable
from llm_quantize.report import figures, tables
from llm_quantize.report.figures import Figure
from llm_quantize.report.judgement import (
    TOLERANCE,
    ModelJudgement,
    change_of,
    headline,
    interval,
    recommendation,
    recommended,
)
from llm_quantize.report.results import ModelResult
from llm_report import units
from llm_report.template import fill_template


def render_page(judgements: Sequence[ModelJudgement], title: str, kernels: KernelTable | None) -> str:
    return fill_template("llm_quantize.report", "page.html", **_content(judgements, title, kernels))


def _content(judgements: Sequence[ModelJudgement], title: str, kernels: KernelTable | None) -> dict[str, Any]:
    css = figures.hues(judgements)
    return {
        "title": title,
        "headline": headline(judgements),
        "judgements": judgements,
        "css": css,
        "tolerance": TOLERANCE,
        "recommendations": [recommendation(one) for one in judgements] if len(judgements) > 1 else [],
        "cards": [(one.model, recommended(one)) for one in judgements],
        "matrix": tables.matrix(judgements),
        "sizes": [figures.size_front(one, css) for one in judgements if one.methods],
        "latencies": [figure for one in judgements if (figure := figures.latency_front(one, css))],
        "losses": {one.model: figures.benchmark_losses(one, css) for one in judgements},
        "benchmarks": {one.model: tables.benchmarks(one) for one in judgements},
        "speeds": [(one.model, place, *table) for one in judgements for place, table in tables.speeds(one).items()],
        "layers": [figure for one in judgements for figure in figures.layer_errors(one, css)],
        "calibrations": [figure for one in judgements for figure in figures.calibration_sensitivity(one, css)],
        "warnings": warnings(judgements),
        "doubts": doubts(judgements),
        "kernels": kernels,
        "settings": settings(judgements),
        "draw": draw,
        "interval": interval,
        "change_of": change_of,
    }


def all_figures(judgements: Sequence[ModelJudgement]) -> list[Figure]:
    """Return every picture of the page, for files of their own."""
    css = figures.hues(judgements)
    found: list[Figure | None] = []
    for one in judgements:
        found += [figures.size_front(one, css) if one.methods else None, figures.latency_front(one, css)]
        found += [*figures.benchmark_losses(one, css), *figures.layer_errors(one, css)]
        found += figures.calibration_sensitivity(one, css)
    return [figure for figure in found if figure is not None]


def draw(figure: Figure) -> Markup:
    return Markup(figure.drawing.inline())


def warnings(judgements: Sequence[ModelJudgement]) -> list[str]:
    """Return the pipeline's warnings, such as poisoned calibration data."""
    return list(dict.fromkeys(f"{one.model} {one.method}: {text}" for one in _all(judgements) for text in one.warnings))


def doubts(judgements: Sequence[ModelJudgement]) -> list[str]:
    """Return why llm-bench would not vouch for some runs: each reason once, with the methods and batch sizes."""
    found: dict[str, dict[str, None]] = {}
    for one in _all(judgements):
        for note in one.performance.notes if one.performance else ():
            batch, _, reason = note.partition(": ")
            found.setdefault(reason.split(":")[0], {})[f"{one.model} {one.method} at {batch}"] = None
    return [f"{reason}: {', '.join(places)}" for reason, places in found.items()]


def settings(judgements: Sequence[ModelJudgement]) -> list[tuple[str, str]]:
    """Return how the figures were made: the text, the calibration, the versions."""
    every = _all(judgements)
    texts = dict.fromkeys(one.evaluation.text[:12] for one in every)
    versions = dict.fromkeys(
        ", ".join(f"{package} {number}" for package, number in one.evaluation.versions.items()) for one in every
    )
    calibrations = dict.fromkeys(
        f"{known.get('source', 'unknown source')}: {known.get('samples', '?')} × {known.get('length', '?')} tokens, "
        f"seed {known.get('seed', '?')}"
        for known in (one.calibration for one in every)
        if known
    )
    costs = [
        f"{one.model} {one.method} {units.seconds(one.record['seconds'])}, {units.size(one.record['peak_bytes'])}"
        for one in every
        if "seconds" in one.record
    ]
    return [
        ("Held-out text", f"SHA-256 {', '.join(texts)}"),
        ("Calibration", "; ".join(calibrations) or "none recorded"),
        ("Quantised in", "; ".join(costs) or "none recorded"),
        ("Evaluated in", f"float32 on {', '.join(dict.fromkeys(one.evaluation.device for one in every))}"),
        ("Versions", "; ".join(versions)),
    ]


def _all(judgements: Sequence[ModelJudgement]) -> list[ModelResult]:
    return [result for each in judgements for result in (each.full, *(one.result for one in each.methods))]
