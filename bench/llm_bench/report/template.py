"""The pages' templates: Jinja2, one style sheet for all, put into the page so that it stands alone."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llm_report import units
from llm_report.theme import style_sheet


def fill_template(name: str, **content: Any) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(seconds=units.seconds, share=units.share, count=units.count, ratio=units.ratio)
    return environment.from_string(_read(name)).render(style=Markup(style_sheet() + _read("style.css")), **content)


def _read(name: str) -> str:
    return resources.files("llm_bench.report").joinpath(name).read_text(encoding="utf-8")
