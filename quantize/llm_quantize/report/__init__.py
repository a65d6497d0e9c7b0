"""One page for a decision: which way to quantise, for which model, and at what loss.

results     what was measured, by model and method; a folder of it
judgement   each method against the full model; the Pareto front; the recommendation in a sentence
charts      the pictures, for the page and as files for a paper
page        the page: one file, nothing fetched; markdown: the same tables for a pull request
write       the files
"""

from llm_quantize.report.results import FULL, ModelResult, read_results
from llm_quantize.report.write import write_report

__all__ = ("FULL", "ModelResult", "read_results", "write_report")
