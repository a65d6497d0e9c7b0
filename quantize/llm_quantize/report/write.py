"""The report's files: page.html, report.md, and each picture as a file for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from llm_quantize.files import write_file
from llm_quantize.performance import KernelTable
from llm_quantize.report.judgement import judge
from llm_quantize.report.markdown import render_markdown
from llm_quantize.report.page import all_figures, render_page
from llm_quantize.report.results import ModelResult

PAGE = "page.html"
MARKDOWN = "report.md"
FIGURES = "figures"


def write_report(
    out: Path,
    models: Sequence[ModelResult],
    *,
    title: str = "Quantization report",
    kernels: KernelTable | None = None,
) -> Path:
    """Write the report into a folder and return the page's path. OutputError if it cannot be written.

    `kernels`: times recorded on a GPU, for a section of their own.
    """
    judgements = judge(models)
    files = {PAGE: render_page(judgements, title, kernels), MARKDOWN: render_markdown(judgements, title, kernels)}
    for figure in all_figures(judgements):
        files[f"{FIGURES}/{re.sub(r'[^A-Za-z0-9._-]+', '-', figure.name)}.svg"] = figure.drawing.file()
    for name, content in files.items():
        write_file(out / name, content)
    return out / PAGE
