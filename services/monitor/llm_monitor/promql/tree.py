"""The syntax tree of an expression, ready for evaluation: times in seconds, regular expressions compiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal

from llm_monitor.series import Matcher


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Shift:
    """The moment that a selector looks from: `@` a fixed time if given, and `offset` seconds earlier."""

    offset: float = 0.0
    at: float | Literal["start", "end"] | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    matchers: tuple[Matcher, ...]
    shift: Shift
    window: float = 0.0
    """Seconds of a range vector; 0 for an instant vector."""


@dataclass(frozen=True, slots=True)
class Subquery:
    argument: Node
    shift: Shift
    window: float
    step: float | None


@dataclass(frozen=True, slots=True)
class Negation:
    argument: Node


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregation:
    operator: str
    argument: Node
    parameter: Node | None
    labels: tuple[str, ...]
    without: bool


@dataclass(frozen=True, slots=True)
class Matching:
    """How the series of two vectors find each other."""

    labels: tuple[str, ...] = ()
    on: bool = False
    """True: match on `labels` alone. False: match on all labels but these."""
    many: Literal["left", "right"] | None = None
    """Side that can have several series for one of the other side."""
    include: tuple[str, ...] = ()
    """Labels that the result takes from the other side."""


@dataclass(frozen=True, slots=True)
class Binary:
    operator: str
    left: Node
    right: Node
    matching: Matching
    as_bool: bool


Node = Number | Text | Selector | Subquery | Negation | Call | Aggregation | Binary


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all nodes below it, parents first."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Node):
                yield from walk(child)
