"""Markdown to HTML for the browser's data; raw HTML in the source shows as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

_RENDERER = MarkdownIt("commonmark", {"html": False}).enable("table")


def block(text: str) -> str:
    """Return paragraphs, lists, tables and code as HTML."""
    return str(_RENDERER.render(text)).strip()


def inline(text: str) -> str:
    """Return a text without paragraphs, such as an option, as HTML."""
    return str(_RENDERER.renderInline(text.strip()))


def script(call: str, *arguments: Any) -> str:
    """Return a line of JavaScript that calls `course.<call>` with the arguments as JSON."""
    written = ", ".join(json.dumps(argument, ensure_ascii=False, sort_keys=True) for argument in arguments)
    return f"course.{call}({written});\n"


def write(target: Path, scripts: Mapping[str, str]) -> list[Path]:
    """Write scripts, by file name, into the folder `target`, and return their paths."""
    target.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (target / name).write_text(text, encoding="utf-8")
    return [target / name for name in scripts]
