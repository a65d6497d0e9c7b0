"""The report as Markdown, for a pull request: the recommendation, the matrix, every benchmark, the speeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_quantize.performance import KernelTable
from llm_quantize.report import tables
from llm_quantize.report.judgement import ModelJudgement, headline, recommendation
from llm_quantize.report.page import doubts, settings, warnings
from llm_quantize.report.tables import Table
from llm_report.markdown import escape, table


def render_markdown(judgements: Sequence[ModelJudgement], title: str, kernels: KernelTable | None) -> str:
    return "\n".join(_lines(judgements, title, kernels)) + "\n"


def _lines(judgements: Sequence[ModelJudgement], title: str, kernels: KernelTable | None) -> Iterable[str]:
    yield from (f"## {escape(title)}", "", f"**{escape(headline(judgements))}**", "")
    if len(judgements) > 1:
        yield from (f"- {escape(recommendation(one))}" for one in judgements)
        yield ""
    yield from (f"> {escape(text)}\n" for text in warnings(judgements))
    yield from (_table([escape(one.model) for one in judgements], tables.matrix(judgements)), "")
    for one in judgements:
        heads, rows = tables.benchmarks(one)
        yield from (f"### {escape(one.model)}", "", _table(heads, rows), "")
        for place, (heads, rows) in tables.speeds(one).items():
            yield from (f"{escape(place)}:", "", _table(heads, rows), "")
    yield from (f"- not vouched for: {escape(text)}" for text in doubts(judgements))
    if kernels:
        yield from (f"### Recorded on {escape(kernels.gpu)}", "", _kernels(kernels), "")
    yield from (f"{label}: {escape(value)}." for label, value in settings(judgements))


def _table(heads: Sequence[str], rows: Table) -> str:
    found = []
    for name, cells in rows:
        shown = [f"**{escape(one.value)}**" if one.css == "invalid" else escape(one.value) for one in cells]
        below = ["".join(f"<br>{escape(line)}" for line in one.below.splitlines()) for one in cells]
        found.append([escape(name), *(a + b for a, b in zip(shown, below, strict=True))])
    return table(["Method", *heads], found)


def _kernels(kernels: KernelTable) -> str:
    rows = [
        [row.op, escape(row.shape), row.dtype, row.implementation, f"{row.seconds * 1e6:.1f} µs",
         f"{row.times_as_fast:.2f}× {row.library}"]
        for row in kernels.rows
    ]  # fmt: skip
    return table(["Operation", "Shape", "Type", "Implementation", "Time", "As fast as"], rows, left=4)
