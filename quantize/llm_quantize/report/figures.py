"""Which pictures a report has: from judgements to drawings, each with its caption and the name of its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_quantize.evaluation.scores import find_benchmark
from llm_quantize.evaluation.statistics import Interval
from llm_quantize.performance import Spread
from llm_quantize.report import charts
from llm_quantize.report.charts import Drawing, Row, Spot
from llm_quantize.report.judgement import NOT_JUDGED, TOLERANCE, Judged, ModelJudgement, show_change
from llm_quantize.report.results import ERRORS, FULL
from llm_quantize.report.tables import milliseconds
from llm_report import units

HUES = 6
NO_LOSS = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption; `name` is its file's, without suffix."""

    name: str
    caption: str
    drawing: Drawing


def hues(judgements: Sequence[ModelJudgement]) -> dict[str, str]:
    """Return the CSS class of each method's hue, the same in all pictures."""
    methods = sorted({one.method for each in judgements for one in each.methods})
    return {method: f"hue{place % HUES}" for place, method in enumerate(methods)} | {FULL: "base"}


def size_front(judgement: ModelJudgement, css: dict[str, str]) -> Figure:
    spots = [Spot(FULL, css[FULL], _point(judgement.full.bytes), NO_LOSS)]
    spots += [
        Spot(one.method, css[one.method], _point(one.result.bytes), one.primary.loss) for one in judgement.methods
    ]
    return _front(judgement, spots, "size", title="size of the weights", show=units.size)


def latency_front(judgement: ModelJudgement, css: dict[str, str]) -> Figure | None:
    """Return loss over the time of a token at batch 1; None if fewer than two were measured on one machine."""
    spots = []
    full = judgement.full.performance
    for method, result, loss in (
        (FULL, judgement.full, NO_LOSS),
        *((one.method, one.result, one.primary.loss) for one in judgement.methods),
    ):
        performance = result.performance
        figures = performance.at(1) if performance else None
        if performance is None or full is None or figures is None or performance.device != full.device:
            continue
        spots.append(Spot(method, css[method], Interval(*_ends(figures.tpot)), loss))
    if len(spots) < 2:
        return None
    return _front(judgement, spots, "latency", title="time of a token at batch 1", show=milliseconds)


def _ends(spread: Spread) -> tuple[float, float, float]:
    return spread.median, spread.low, spread.high


def _front(
    judgement: ModelJudgement, spots: Sequence[Spot], kind: str, *, title: str, show: Callable[[float], str]
) -> Figure:
    what = judgement.methods[0].primary.benchmark if judgement.methods else "loss"
    drawing = charts.pareto(
        spots,
        f"Loss of {what} over {title} of {judgement.model}, by method",
        x_title=title,
        y_title=f"{what}, loss",
        show_cost=show,
        limit=TOLERANCE,
    )
    return Figure(f"{judgement.model}-{kind}", f"{judgement.model}: {what} lost over {title}", drawing)


def benchmark_losses(judgement: ModelJudgement, css: dict[str, str]) -> list[Figure]:
    """Return a picture for each benchmark with every method's loss."""
    names = dict.fromkeys(name for one in judgement.methods for name in one.comparisons if name not in NOT_JUDGED)
    figures = []
    for name in names:
        found = [one for one in judgement.methods if name in one.comparisons]
        rows = [_row(one, css, one.method, name) for one in found]
        title = find_benchmark(name).title
        label = f"Loss on {title} of {judgement.model} by method, with 95% intervals"
        show = percent if found[0].comparisons[name].kind == "ratio" else points
        drawing = charts.forest(rows, label, show=show, limit=TOLERANCE)
        figures.append(Figure(f"{judgement.model}-{name.replace(':', '-')}", title, drawing))
    return figures


def _row(one: Judged, css: dict[str, str], label: str, name: str) -> Row:
    comparison = one.comparisons[name]
    return Row(label, css[one.method], comparison.loss, show_change(comparison, comparison.loss.value))


def layer_errors(judgement: ModelJudgement, css: dict[str, str]) -> list[Figure]:
    """Return a picture of the errors of outputs, and one of weights: methods that read no text record the latter."""
    figures = []
    for kind in ERRORS:
        drawn = [(one.method, css[one.method], one.result.layers(kind)) for one in judgement.methods]
        drawn = [one for one in drawn if one[2]]
        if drawn:
            label = f"Relative error of each layer's {kind} of {judgement.model}, by method"
            drawing = charts.layer_errors(drawn, label)
            figures.append(Figure(f"{judgement.model}-{kind}", f"{judgement.model}: error of the {kind}", drawing))
    return figures


def calibration_sensitivity(judgement: ModelJudgement, css: dict[str, str]) -> list[Figure]:
    """Return a picture for each method that was calibrated more than once."""
    figures = []
    for method, variants in judgement.calibrations.items():
        hue = {one.method: css[method] for one in variants}
        rows = [_row(one, hue, describe_calibration(one), one.primary.benchmark) for one in variants]
        label = f"Loss of {method} on {judgement.model} by calibration, with 95% intervals"
        drawing = charts.forest(rows, label, show=percent, limit=None)
        figures.append(Figure(f"{judgement.model}-{method}-calibration", f"{judgement.model}, {method}", drawing))
    return figures


def describe_calibration(one: Judged) -> str:
    """Return `128 x 512, seed 1`."""
    known = one.result.calibration
    return f"{known.get('samples', '?')} × {known.get('length', '?')}, seed {known.get('seed', '?')}"


def percent(value: float) -> str:
    return f"{100 * value:+g}%" if value else "0"


def points(value: float) -> str:
    return f"{100 * value:+g} pt" if value else "0"


def _point(value: float) -> Interval:
    return Interval(value, value, value)
