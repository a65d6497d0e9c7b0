"""Tables in Markdown, and text that stays text in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> str:
    """Return a table whose first `left` columns are text; the others are numbers, which align on the right."""
    marks = ["---"] * left + ["--:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heads, marks, *rows))


def escape(text: str) -> str:
    """Return `text` on one line, with what would end a cell or begin markup written out."""
    return "".join(f"\\{char}" if char in "\\|*_`<>[]" else char for char in " ".join(text.split()))
