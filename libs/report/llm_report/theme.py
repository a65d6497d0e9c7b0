"""The style sheet that all pages share. A page puts it into itself, ahead of its own rules, and so stands alone."""

from __future__ import annotations

from importlib import resources


def style_sheet() -> str:
    """Return the CSS: colours for light, dark and paper as variables, layout, and the classes of drawings."""
    return resources.files(__package__).joinpath("theme.css").read_text(encoding="utf-8")
