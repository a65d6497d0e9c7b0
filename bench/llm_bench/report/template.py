"""The pages' templates."""

from __future__ import annotations

from functools import partial

from llm_report import template

fill_template = partial(template.fill_template, "llm_bench.report")
