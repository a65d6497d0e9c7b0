"""Apply a patch, as `git diff` writes it, to texts: strictly, so that a patch that no longer fits is noticed.

The lines that a hunk removes and keeps must occur in the file exactly once; their line numbers may have moved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llm_course.errors import CourseError

FILE = re.compile(r"^\+\+\+ b/(\S+)$")


@dataclass(frozen=True, slots=True)
class Hunk:
    file: str
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a patched file that the patch has put there, or that stand around what it took away."""

    file: str
    first: int
    last: int


def apply(patch: str, read: Callable[[str], str]) -> tuple[dict[str, str], list[Place]]:
    """Return the new text of each patched file, and the places; CourseError if a hunk does not fit."""
    texts: dict[str, str] = {}
    places: list[Place] = []
    for hunk in _hunks(patch):
        text = texts[hunk.file] if hunk.file in texts else read(hunk.file)
        old, new = "\n".join(hunk.old), "\n".join(hunk.new)
        if text.count(old) != 1:
            found = "not there" if old not in text else f"there {text.count(old)} times"
            raise CourseError(f"{hunk.file}: the lines that the patch changes are {found}:\n{old}")
        first = text[: text.index(old)].count("\n") + 1
        texts[hunk.file] = text.replace(old, new)
        places.append(Place(hunk.file, first, first + len(hunk.new) - 1))
    if not texts:
        raise CourseError("the patch changes no file")
    return texts, places


def _hunks(patch: str) -> Iterator[Hunk]:
    name, hunk = "", None
    for line in patch.splitlines():
        if (found := FILE.match(line)) or line.startswith(("diff ", "@@ ")):
            if hunk is not None:
                yield hunk
            name = found[1] if found else name
            hunk = Hunk(name) if line.startswith("@@ ") else None
        elif hunk is not None and line[:1] in ("", " ", "-", "+"):
            if line[:1] != "+":
                hunk.old.append(line[1:])
            if line[:1] != "-":
                hunk.new.append(line[1:])
    if hunk is not None:
        yield hunk
