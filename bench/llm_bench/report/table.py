"""The table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llm_bench.measure.summary import ClassFigures
from llm_bench.report.compare import METRICS, THROUGHPUT, ReportedMetric, Row, compare, show
from llm_bench.report.headline import nothing_completed
from llm_bench.results.result import Result
from llm_report.units import ratio


def print_table(results: Sequence[Result], console: Console | None = None) -> None:
    console = console or Console()
    _print_failures(results, console)
    console.print(make_table(results))
    _print_verdicts(results, console)


def print_run(results: Sequence[Result], console: Console | None = None) -> None:
    """Print what a run found: latencies, then failures, throughput and whole answers, then the verdict. 80 columns."""
    console = console or Console()
    _print_failures(results, console)
    console.print(make_table(results))
    console.print()
    console.print(make_table(results, THROUGHPUT))
    _print_verdicts(results, console)


def _print_failures(results: Sequence[Result], console: Console) -> None:
    for result in results:
        if failure := nothing_completed(result):
            console.print(Text(f"{failure}.", style="bold red"))


def _print_verdicts(results: Sequence[Result], console: Console) -> None:
    for result in results:
        console.print(_verdict(result))


def make_table(results: Sequence[Result], metrics: Sequence[ReportedMetric] = METRICS) -> Table:
    """Return a block of rows per class, in it one row per run."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("Class", no_wrap=True)
    if len(results) > 1:
        table.add_column("Run", no_wrap=True)
    for metric in metrics:
        table.add_column(metric.label.replace(" ", "\n", 1), justify="right", no_wrap=True, vertical="bottom")
    comparison = compare(results, metrics)
    names = [*results[0].scenario.classes, "all"]
    for name in names:
        for position, result in enumerate(results):
            figures = result.summary.classes.get(name)
            if figures is not None:
                table.add_row(
                    *_cells(name if position == 0 else "", result, figures, metrics, several=len(results) > 1)
                )
        if len(results) == 2:
            table.add_row("", Text("ratio", style="dim"), *_ratios(comparison, name))
        if len(results) > 1 and name != names[-1]:
            table.add_row()
    return table


def _cells(
    name: str, result: Result, figures: ClassFigures, metrics: Sequence[ReportedMetric], *, several: bool
) -> list[Text]:
    cells = [Text(name, style="bold")]
    if several:
        cells.append(Text(result.run.name))
    return cells + [Text(show(metric.read(figures), metric.unit)) for metric in metrics]


def _ratios(comparison: Sequence[Row], name: str) -> list[Text]:
    rows = [row for row in comparison if row.class_name == name]
    return [Text(ratio(row.ratios[1]) if row.unit == "seconds" else "", style="dim") for row in rows]


def _verdict(result: Result) -> Text:
    verdict = result.verdict
    text = Text(f"{result.run.name}: ")
    text.append("VALID" if verdict.valid else "INVALID", style="bold green" if verdict.valid else "bold red")
    if result.partial:
        text.append(f"\n  {result.partial}", style="bold yellow")
    for reason in verdict.reasons:
        text.append(f"\n  {reason}")
    for note in verdict.notes:
        text.append(f"\n  note: {note}", style="dim")
    return text
