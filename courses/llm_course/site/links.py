"""Every link of a built site leads somewhere, and nothing is fetched from outside."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"link": "href"} | dict.fromkeys(("audio", "iframe", "img", "script", "source", "video"), "src")
"""Elements that load what their attribute names."""
NOT_A_PAGE = "404.html"
"""Served from any path, so its links are absolute."""


class Document(HTMLParser):
    """The ids of a page, what it links to, and what it fetches."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif FETCHED.get(tag) in values:
            self.fetched.append(values[FETCHED[tag]])


class Site:
    """A built site on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def documents(self) -> dict[Path, Document]:
        """Each page's file, absolute, and what it holds."""
        files = (file for file in self.folder.resolve().rglob("*.html") if file.name != NOT_A_PAGE)
        return {file: Document(file) for file in sorted(files)}

    def faults(self) -> Iterator[str]:
        """Yield `page: what is wrong` for each link that leads nowhere and each request that leaves the site."""
        for file, document in self.documents.items():
            name = file.relative_to(self.folder.resolve()).as_posix()
            for link in document.fetched:
                if urlsplit(link).scheme not in ("", "data") or link.startswith("//"):
                    yield f"{name}: fetches {link}"
            for link in [*document.links, *document.fetched]:
                if fault := self._fault(file, link):
                    yield f"{name}: {link}: {fault}"

    def _fault(self, file: Path, link: str) -> str | None:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return None
        target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
        if target.is_dir():
            target = target / "index.html"
        if not target.is_file():
            return "no such file"
        if parts.fragment and target in self.documents and unquote(parts.fragment) not in self.documents[target].ids:
            return "no such anchor"
        return None
