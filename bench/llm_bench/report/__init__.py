"""Reports that compare runs: a table for the terminal, a page of HTML, Markdown and JSON."""

from llm_bench.report.write import write_report

__all__ = ["write_report"]
