"""Terminal tables over several runs: repetitions, pairs, and the `--fail-if` conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llm_bench.analyse.conditions import CheckedCondition
from llm_bench.analyse.figures import RATES, parse_figure
from llm_bench.analyse.knee import Knee
from llm_bench.analyse.paired import PairedRatio
from llm_bench.analyse.repetitions import Estimate
from llm_bench.results.result import Result
from llm_report.units import MISSING, seconds, share

_LABELS = {
    "output_tokens_per_second": "Output/s",
    "prompt_tokens_per_second": "Input/s",
    "requests_per_second": "Requests/s",
    "slo_attainment": "SLO met",
    "goodput": "Goodput",
}
_STYLES = {"passed": "green", "failed": "bold red", "undecided": "yellow"}


def print_repetitions(estimates: Mapping[str, Estimate], console: Console | None = None) -> None:
    """Print the mean over the runs, its 95% interval, and the half width as a share of the mean."""
    rows = {}
    for name, one in estimates.items():
        half = one.half_width
        relative = f"{half / one.value:.1%}" if half is not None and one.value else MISSING
        rows[name] = [show(name, one.value), f"{show(name, one.low)} … {show(name, one.high)}", relative]
    (console or Console()).print(_table(("Mean", "95% interval", "±"), rows))


def print_pairs(ratios: Sequence[PairedRatio], a: str, b: str, console: Console | None = None) -> None:
    """Print the ratio of B to A, its interval, the minimum detectable effect and the verdict, in 80 columns."""
    rows = {
        one.figure: [
            show(one.figure, one.a),
            show(one.figure, one.b),
            f"{one.ratio.value:.3f}",
            f"{one.ratio.low or 0.0:.3f} … {one.ratio.high or 0.0:.3f}",
            f"{one.detectable - 1:.1%}",
            one.verdict,
        ]
        for one in ratios
    }
    (console or Console()).print(_table((a[:9], b[:9], "B/A", "95% interval", "MDE", ""), rows))


def print_sweep(results: Sequence[Result], console: Console | None = None) -> None:
    """Print a row for each run, by rate."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("Rate", "Output/s", "TTFT P50", "TTFT P99", "TPOT P50", "SLO met", "Goodput", ""):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for result in results:
        figures = result.summary.classes["all"]
        table.add_row(
            f"{result.scenario.rate or 0.0:.3g}",
            f"{figures.output_tokens_per_second:.4g}",
            seconds(figures.ttft.p50),
            seconds(figures.ttft.p99),
            seconds(figures.tpot.p50),
            share(figures.slo_attainment),
            f"{figures.goodput:.3g}",
            "" if result.verdict.valid else Text("INVALID", style="bold red"),
        )
    (console or Console()).print(table)


def print_knee(knee: Knee, console: Console | None = None) -> None:
    """Print every run of the search, and the knee."""
    console = console or Console()
    for trial in knee.trials:
        met = share(trial.attainment)
        console.print(
            f"{trial.rate:8.3g}/s  {'holds' if trial.holds else 'fails'}  {met:>5}  {trial.why}", highlight=False
        )
    if knee.holds is None or knee.best is None:
        console.print(f"No rate was found that holds: {knee.fails or 0:.3g}/s still fails")
        return
    above = f"{knee.fails:.3g}/s fails" if knee.fails else "none was found that fails"
    console.print(
        f"Highest rate that holds: {knee.holds:.3g}/s ({above}); there goodput is {knee.best.goodput:.3g}/s, "
        f"output {knee.best.output_tokens_per_second:.4g} tokens/s"
    )


def print_findings(findings: Sequence[CheckedCondition], console: Console | None = None) -> None:
    for finding in findings:
        style = _STYLES[finding.outcome]
        (console or Console()).print(f"[{style}]{finding.outcome}[/]  {finding.condition}: {finding.detail}")


def show(figure: str, value: float | None) -> str:
    """Format a figure's value with its unit."""
    key = parse_figure(figure).key
    if value is None:
        return MISSING
    if key == "slo_attainment":
        return share(value)
    return f"{value:.4g}" if key in RATES else seconds(value)


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """Return the table: a row per figure, grouped under its class."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    above = ""
    for name, cells in rows.items():
        figure = parse_figure(name)
        if figure.class_name != above:
            above = figure.class_name
            table.add_row(Text(above, style="bold"))
        table.add_row(f"  {_LABELS.get(figure.key) or figure.key.replace('_', ' ').upper()}", *cells)
    return table
