"""Relative links of Markdown pages: the file must be there, and so must the heading that an anchor names.

An anchor is a heading's slug as GitHub makes it: lower case, punctuation removed, a hyphen for each space; the second
heading of the same text ends in `-1`, the third in `-2`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

_FENCED = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]+)")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
_LINKED_TEXT = re.compile(r"!?\[([^]]*)\]\([^)]*\)")
_OWN_ANCHOR = re.compile(r"<[^>]+\b(?:id|name)=\"([^\"]+)\"")
_NOT_IN_A_SLUG = re.compile(r"[^\w\- ]")


GENERATED = "generated/"
"""Pages below such a folder are made by `./lab docs`, whose check follows the links to them."""


def broken_links(pages: Iterable[Path]) -> list[str]:
    """Return `page: link` for each relative link whose file or heading is not there."""
    return [f"{page}: {link}" for page in pages for link in _links(page) if not _leads_somewhere(page, link)]


def _links(page: Path) -> Iterator[str]:
    return (match[1] for match in _LINK.finditer(_text(page)))


def _leads_somewhere(page: Path, link: str) -> bool:
    if GENERATED in link:
        return True
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page: its headings' slugs, and the `id` or `name` of its HTML tags."""
    text = _text(page)
    seen: Counter[str] = Counter()
    found = set(_OWN_ANCHOR.findall(text))
    for heading in _HEADING.findall(text):
        slug = _slug(heading)
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def _slug(heading: str) -> str:
    shown = _LINKED_TEXT.sub(r"\1", heading)
    return _NOT_IN_A_SLUG.sub("", shown.strip().lower()).replace(" ", "-")


def _text(page: Path) -> str:
    """Return the page without its fenced code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))
