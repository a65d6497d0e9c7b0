"""From a solution to the file that a learner starts with.

    def release(self, block: int) -> None:
        # region exercise: one reference less; the last one makes the block cached or free
        …
        # endregion

A region becomes `raise NotImplementedError("one reference less; …")`. Lines `# stub: return 0` right after its header
stand there instead, for a starter that runs and answers wrongly. Everything outside the regions is the same in both
files, so they cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llm_course.errors import CourseError

BEGIN = re.compile(r"^(\s*)# region exercise: (.+)$")
STUB = re.compile(r"^\s*# stub: ?(.*)$")
END = re.compile(r"^\s*# endregion$")


@dataclass(frozen=True, slots=True)
class Region:
    indent: str
    text: str
    """The task of this place, in a sentence."""
    stub: tuple[str, ...]
    body: tuple[str, ...]
    """The solution's lines."""

    def starter(self) -> list[str]:
        lines = self.stub or (f"raise NotImplementedError({_quoted(self.text)})",)
        return [f"{self.indent}{line}".rstrip() for line in lines]


def starter(solution: str) -> str:
    """Return the solution with each region's stub in its place; CourseError if a region is not closed."""
    lines = (part.starter() if isinstance(part, Region) else [part] for part in _parts(solution))
    return "\n".join(line for group in lines for line in group)


def without_marks(solution: str) -> str:
    """Return the solution as a learner reads it."""
    lines = (part.body if isinstance(part, Region) else (part,) for part in _parts(solution))
    return "\n".join(line for group in lines for line in group)


def lines_to_write(solution: str) -> int:
    """Return how many lines the regions hold, without empty ones and comments."""
    bodies = (part.body for part in _parts(solution) if isinstance(part, Region))
    return sum(1 for body in bodies for line in body if line.strip() and not line.strip().startswith("#"))


def _parts(text: str) -> Iterator[str | Region]:
    """Yield lines outside regions, and regions."""
    begin: tuple[int, str, str] | None = None
    stub: list[str] = []
    body: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if found := BEGIN.match(line):
            if begin:
                raise CourseError(f"line {number}: a region begins inside the one of line {begin[0]}")
            begin, stub, body = (number, found[1], found[2]), [], []
        elif END.match(line):
            if begin is None:
                raise CourseError(f"line {number}: a region ends that has not begun")
            yield Region(begin[1], begin[2], tuple(stub), tuple(body))
            begin = None
        elif begin is None:
            yield line
        elif (found := STUB.match(line)) and not body:
            stub.append(found[1])
        else:
            body.append(line)
    if begin:
        raise CourseError(f"line {begin[0]}: the region is not closed; `# endregion` is missing")


def _quoted(text: str) -> str:
    return "'" + text + "'" if '"' in text and "'" not in text else '"' + text.replace('"', "'") + '"'
