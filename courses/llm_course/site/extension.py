"""The pages' notation as a Markdown extension: `llm_course.site.extension` in mkdocs.yml, for both builders."""

from __future__ import annotations

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

from llm_course.paths import ROOT
from llm_course.site.expand import expand

BEFORE_FENCES = 31
"""Priority: after line endings are normalised (30 is next), before fenced blocks are taken out (25)."""


class NotationExtension(Extension):
    """Expands the pages' notation; an error ends the build."""

    def extendMarkdown(self, md: Markdown) -> None:  # Markdown's name
        md.preprocessors.register(_Notation(md), "llm_course", BEFORE_FENCES)


class _Notation(Preprocessor):
    md: Markdown

    def run(self, lines: list[str]) -> list[str]:
        return expand(ROOT, _page(self.md), lines)


def _page(md: Markdown) -> str:
    """Return the page's path below docs/, which each builder keeps in a processor of its own."""
    for processor in (*md.treeprocessors, *md.preprocessors):
        if file := getattr(processor, "file", None):  # MkDocs
            return str(file.src_uri)
        if page := getattr(processor, "page", None):  # zensical
            return str(page.path)
    return "generated/unknown.md"


def makeExtension() -> NotationExtension:  # Markdown's name
    """Return the extension; Markdown calls this by name."""
    return NotationExtension()
