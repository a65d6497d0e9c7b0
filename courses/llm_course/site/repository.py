"""Where the site shows a file of the repository: pages on themselves, READMEs and code in copies of their own.

docs/glossary.md                     glossary.md
services/engine/README.md            generated/repository/services/engine/README.md
services/engine                      the same
models/main/loss.svg                 generated/repository/models/main/loss.svg
kernels/llm_kernels/cpu/gemm.cpp     generated/repository/kernels/llm_kernels/cpu/gemm.cpp.md
kernels/llm_kernels/cpu              generated/repository/kernels/llm_kernels/cpu/index.md
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_course.errors import CourseError
from llm_course.site.lines import SPAN, Text, split

COPIES = "generated/repository"
IMAGES = {".svg", ".png"}
LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s]+)(?=[)\s])")
"""The target of a Markdown link or image."""
ABSOLUTE = re.compile(r"[a-z]+:|#|/")


class LinkError(CourseError):
    """A link to a file that the repository does not have."""


@dataclass(frozen=True, slots=True)
class Link:
    """A relative link of a page, resolved."""

    target: str
    """As it stands in the page."""
    path: str
    """File or folder, relative to the repository's root."""
    anchor: str
    """With its #; "" without one."""


def links(text: str, folder: str) -> Iterator[Link]:
    """Yield the relative links of a page that lies in `folder`, which is relative to the repository's root."""
    for piece in split(text.split("\n")):
        if isinstance(piece, Text):
            for found in LINK.finditer(SPAN.sub("", piece.line)):
                target = found["target"]
                if not ABSOLUTE.match(target):
                    path, _, anchor = target.partition("#")
                    yield Link(target, posixpath.normpath(posixpath.join(folder, path)), anchor and f"#{anchor}")


def shown_at(root: Path, path: str) -> str:
    """Return the page or file below docs/ that shows `path`; LinkError if the repository has no such file."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    there = root / path
    if there.is_dir():
        name = "README.md" if (there / "README.md").exists() else "index.md"
        return posixpath.join(COPIES, path, name)
    if not there.is_file():
        raise LinkError(f"{path}: the repository has no such file")
    is_as_it_is = there.suffix == ".md" or there.suffix in IMAGES
    return posixpath.join(COPIES, path if is_as_it_is else f"{path}.md")


def relative(page: str, target: str) -> str:
    """Return a link from one page of docs/ to another."""
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
