"""Runs side by side: a table for the terminal, one page of HTML, and JSON."""

from llm_bench.report.write import write_report

__all__ = ["write_report"]
