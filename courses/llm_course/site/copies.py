"""Copies of the repository's READMEs, pictures and code for the site, each at its path below generated/repository."""

from __future__ import annotations

import posixpath
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

from llm_course.site.expand import rebase
from llm_course.site.pages import Page
from llm_course.site.repository import COPIES, IMAGES, links, relative, shown_at

LEFT_OUT = (".github/", "docs/", "learn/")
MOST_LINES = 4000
"""Longer files, which are data, are cut."""


def readmes(root: Path) -> list[str]:
    """Return the repository's Markdown files outside docs/, tracked or new, courses' tasks apart."""
    names = _git_files(root, "*.md")
    return [
        name
        for name in names
        if not name.startswith(LEFT_OUT) and not name.startswith(("courses/0", "courses/faults/"))
    ]


def copies(root: Path, pages: Iterable[Page], linked: Iterable[str]) -> Iterator[tuple[str, str | bytes]]:
    """Yield (path below docs/, content) for every README, and for each file that READMEs, `pages` or `linked` name."""
    shown_on: dict[str, list[Page]] = {}
    for page in pages:
        for file in page.files:
            shown_on.setdefault(file, []).append(page)
    wanted = dict.fromkeys([*shown_on, *linked])
    for name in readmes(root):
        text = (root / name).read_text(encoding="utf-8")
        place = f"{COPIES}/{name}"
        wanted |= dict.fromkeys(link.path for link in links(text, posixpath.dirname(name)))
        yield place, rebase(root, text, folder=posixpath.dirname(name), page=place)
    folders = [path for path in wanted if shown_at(root, path).endswith("/index.md") and (root / path).is_dir()]
    for folder in folders:
        # Both builders leave hidden files out.
        files = [
            name
            for name in _git_files(root, folder)
            if posixpath.dirname(name) == folder and not posixpath.basename(name).startswith(".")
        ]
        wanted |= dict.fromkeys(files)
        yield shown_at(root, folder), _listing(root, folder, files)
    for path in wanted:
        place = shown_at(root, path)
        if Path(place).suffix in IMAGES and place.startswith(COPIES):
            yield place, (root / path).read_bytes()
        elif place.startswith(COPIES) and (root / path).is_file() and not path.endswith(".md"):
            yield place, code_page(root, path, shown_on.get(path, []))


def code_page(root: Path, path: str, shown_on: Iterable[Page]) -> str:
    """Return the page of a file: its code with an anchor L-1, L-2, … a line, and the pages that show it."""
    place = shown_at(root, path)
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    code = "\n".join(lines[:MOST_LINES]) + "\n"
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    formatter: HtmlFormatter[str] = HtmlFormatter(linespans="L", cssclass="highlight source-file", wrapcode=True)
    notes = [f"{len(lines):,} lines"]
    if len(lines) > MOST_LINES:
        notes.append(f"the first {MOST_LINES:,} are shown")
    notes += [f"on [{page.title}]({relative(place, page.path)})" for page in shown_on]
    head = f"# {posixpath.basename(path)}\n\n`{path}` · {' · '.join(notes)}\n\n"
    return _front_matter(path) + head + highlight(code, lexer, formatter)


def _listing(root: Path, folder: str, files: Iterable[str]) -> str:
    place = shown_at(root, folder)
    names = [f"- [{posixpath.basename(name)}]({relative(place, shown_at(root, name))})" for name in files]
    return _front_matter(folder) + f"# {escape(folder)}\n\n" + "\n".join(names) + "\n"


def _front_matter(title: str) -> str:
    return f"---\ntitle: {title}\nsearch:\n  exclude: true\n---\n\n"


def _git_files(root: Path, pattern: str) -> list[str]:
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", pattern)
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return sorted({name for name in listed.stdout.split("\0") if name and (root / name).is_file()})


def titles(root: Path, names: Iterable[str]) -> Mapping[str, str]:
    """Return README -> the words of its first heading, up to a colon."""
    found = {}
    for name in names:
        lines = (root / name).read_text(encoding="utf-8").splitlines()
        first = next((line for line in lines if line.startswith("# ")), name)
        found[name] = first.removeprefix("# ").partition(":")[0].strip().strip("`")
    return found
