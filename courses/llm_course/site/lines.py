"""Lines of Markdown, with what is code told apart from what is text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

OPENING = re.compile(r"^(?P<indent>[\s>]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
"""Inline code."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line outside code."""

    line: str


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code between fences."""

    indent: str
    fence: str
    info: str
    """The words after the opening fence: language, title."""
    body: tuple[str, ...]
    is_closed: bool

    def lines(self) -> Iterator[str]:
        yield f"{self.indent}{self.fence}{self.info}"
        yield from self.body
        if self.is_closed:
            yield f"{self.indent}{self.fence}"


def split(lines: Sequence[str]) -> Iterator[Text | Fence]:
    """Yield each line of text, and each fenced block as a whole."""
    index = 0
    while index < len(lines):
        opening = OPENING.match(lines[index])
        if opening is None:
            yield Text(lines[index])
            index += 1
            continue
        end = index + 1
        while end < len(lines) and not _closes(lines[end], opening["fence"]):
            end += 1
        body = tuple(lines[index + 1 : end])
        yield Fence(opening["indent"], opening["fence"], opening["info"], body, end < len(lines))
        index = end + 1


def outside_code(line: str, change: Callable[[str], str]) -> str:
    """Return the line with `change` applied to what is no inline code."""
    done, end = [], 0
    for span in SPAN.finditer(line):
        done += [change(line[end : span.start()]), span[0]]
        end = span.end()
    return "".join([*done, change(line[end:])])


def _closes(line: str, fence: str) -> bool:
    bare = line.strip(" >\t")
    return len(bare) >= len(fence) and not bare.strip(fence[0])
