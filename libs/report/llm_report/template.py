"""Pages from Jinja2 templates: one style sheet for all, put into the page so that it stands alone."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llm_report import units
from llm_report.theme import style_sheet


def fill_template(package: str, template: str, /, **content: Any) -> str:
    """Return the page of a package's template, styled by the theme and the package's own style.css."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        seconds=units.seconds, share=units.share, count=units.count, ratio=units.ratio, size=units.size
    )
    style = Markup(style_sheet() + _read(package, "style.css"))
    return environment.from_string(_read(package, template)).render(style=style, **content)


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
