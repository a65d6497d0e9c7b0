"""Runs side by side as Markdown, for pull requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_bench.report.compare import METRICS, Row, compare, show
from llm_bench.report.headline import nothing_completed
from llm_bench.results.result import Result
from llm_report.units import ratio


def render_markdown(results: Sequence[Result], title: str) -> str:
    """Return a heading, the verdicts, a table by class and run (with the ratio of two runs), and the settings."""
    lines = [f"## {_cell(title)}", "", *_failures(results), *_verdicts(results), "", *_table(results), ""]
    return "\n".join([*lines, *_settings(results), ""])


def _failures(results: Sequence[Result]) -> Iterable[str]:
    for result in results:
        if failure := nothing_completed(result):
            yield f"**{_cell(failure)}.**"
            yield ""


def _verdicts(results: Sequence[Result]) -> Iterable[str]:
    for result in results:
        yield f"- **{_cell(result.run.name)}**: {'VALID' if result.verdict.valid else '**INVALID**'}"
        if result.partial:
            yield f"  - **{_cell(str(result.partial))}**"
        yield from (f"  - {_cell(reason)}" for reason in result.verdict.reasons)
        yield from (f"  - note: {_cell(note)}" for note in result.verdict.notes)


def _table(results: Sequence[Result]) -> Iterable[str]:
    yield "| Class | Run | " + " | ".join(metric.label for metric in METRICS) + " |"
    yield "|---|---|" + "---:|" * len(METRICS)
    rows: dict[str, list[Row]] = {}
    for row in compare(results):
        rows.setdefault(row.class_name, []).append(row)
    for name, of_class in rows.items():
        for position, result in enumerate(results):
            values = " | ".join(show(row.values[position], row.unit) for row in of_class)
            yield f"| {_cell(name) if position == 0 else ''} | {_cell(result.run.name)} | {values} |"
        if len(results) == 2:
            yield f"| | ratio | {' | '.join(ratio(row.ratios[1]) for row in of_class)} |"


def _settings(results: Sequence[Result]) -> Iterable[str]:
    first = results[0]
    where = first.environment
    yield (
        f"{_cell(first.scenario.name)}, {first.scenario.arrivals.kind} arrivals for {first.scenario.duration:g} s, "
        f"seed {first.run.seed}; model {_cell(first.run.model)}; client on {_cell(where.cpu)}, {where.cores} cores "
        f"(`{where.fingerprint}`). Times count from the scheduled arrival."
    )


def _cell(text: str) -> str:
    """Escape the characters that would end a cell or begin markup."""
    return "".join(f"\\{char}" if char in "\\|*_`<>[]" else char for char in " ".join(text.split()))
