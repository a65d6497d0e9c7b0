"""Pages of the modules: their front matter, and what they show of the repository.

---
title: Why the KV cache is paged
module: 2
topics: [1, 2, 3, 4]
hours: 0.7
order: 1
stretch: false
---
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from llm_course.errors import CourseError
from llm_course.site.lines import Fence, split
from llm_course.site.repository import links

FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
SOURCE = re.compile(r'\s*--source-- "(?P<path>[^":]+)::(?P<symbol>[^"]+)"\s*')


class PageError(CourseError):
    """A page whose front matter breaks a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a module."""

    path: str
    """Relative to docs/."""
    title: str
    module: int
    topics: tuple[int, ...]
    """Numbers of the module's topics that the page is about."""
    hours: float
    """Core hours of a reader who does what the page asks; exercises count apart."""
    order: int
    """Place in the module; without one in the front matter, the first of the topics."""
    stretch: bool
    """True if the page is not on the core path."""
    sources: tuple[tuple[str, str], ...]
    """Path and symbol of each piece of code that the page shows, in its order."""
    files: tuple[str, ...]
    """Files of the repository that it shows or links to, without repetition."""


def module_pages(root: Path, slug: str) -> tuple[Page, ...]:
    """Return a module's pages in their order, without its index; PageError if one breaks a rule."""
    folder = root / "docs" / "modules" / slug
    found = [_read(root, file, file.stat().st_mtime_ns) for file in folder.glob("*.md") if file.name != "index.md"]
    return tuple(sorted(found, key=lambda page: (page.order, page.path)))


def front_matter(text: str, where: str) -> tuple[dict[str, Any], str]:
    """Return a page's fields and its text after them; PageError if they are no mapping."""
    found = FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    try:
        fields = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise PageError(f"{where}: front matter: {error}") from None
    if not isinstance(fields, dict):
        raise PageError(f"{where}: front matter is no mapping")
    return fields, text[found.end() :]


@lru_cache(maxsize=512)
def _read(root: Path, file: Path, changed: int) -> Page:
    path = file.relative_to(root / "docs").as_posix()
    fields, text = front_matter(file.read_text(encoding="utf-8"), f"docs/{path}")
    _check(fields, f"docs/{path}")
    sources = tuple(_sources(text))
    linked = [link.path for link in links(text, str(Path("docs", path).parent)) if not link.path.startswith("docs/")]
    files = dict.fromkeys([*(each for each, _ in sources), *(each for each in linked if (root / each).is_file())])
    topics = tuple(fields["topics"])
    hours, stretch = float(fields["hours"]), bool(fields.get("stretch", False))
    return Page(
        path=path,
        title=fields["title"],
        module=fields["module"],
        topics=topics,
        hours=hours,
        order=fields.get("order", min(topics)),
        stretch=stretch,
        sources=sources,
        files=tuple(files),
    )


def _check(fields: dict[str, Any], where: str) -> None:
    rules: dict[str, Callable[[Any], object]] = {
        "title": lambda value: isinstance(value, str) and value.strip(),
        "module": lambda value: isinstance(value, int),
        "topics": lambda value: isinstance(value, list) and value and all(isinstance(each, int) for each in value),
        "hours": lambda value: isinstance(value, int | float) and 0 < value <= 4,
        "order": lambda value: value is None or (isinstance(value, int) and value > 0),
    }
    for name, holds in rules.items():
        if not holds(fields.get(name)):
            raise PageError(f"{where}: front matter: {name} is {fields.get(name)!r}")
    if not where.startswith(f"docs/modules/{fields['module']:02}-"):
        raise PageError(f"{where}: front matter: module is {fields['module']}")


def _sources(text: str) -> Iterator[tuple[str, str]]:
    for piece in split(text.split("\n")):
        if isinstance(piece, Fence):
            for line in piece.body:
                if found := SOURCE.fullmatch(line):
                    yield found["path"], found["symbol"]
