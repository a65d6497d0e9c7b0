"""No panel names a metric or a label that nobody exports, and none stays empty on a recorded run.

python -m llm_monitor.boards.check     # prints what is wrong, and fails if anything is
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llm_monitor.boards.metrics import Exported, exported
from llm_monitor.boards.panel import Board, Choice, expand
from llm_monitor.promql import parse, tree
from llm_monitor.series.selection import NAME

HasSeries = Callable[[str], bool]
"""Return whether an expression yields a series."""


def undefined(boards: Sequence[Board], known: Mapping[str, Exported]) -> list[str]:
    """Return a line for each metric or label in a panel that no target exports."""
    return [
        f"{board.key}/{panel.key}: {fault}"
        for board in boards
        for panel in board.panels
        for query in panel.queries
        for fault in faults(query.expression, known)
    ]


def faults(expression: str, known: Mapping[str, Exported]) -> Iterator[str]:
    """Yield what is wrong with one expression, with every filter and grouping in use."""
    for by in ("", "model", "engine", "class", "tenant"):
        every = Choice(dict.fromkeys(("model", "engine", "class", "tenant"), ("x",)), by)
        nodes = list(tree.walk(parse(expand(expression, every)).root))
        labels: set[str] = set()
        for name, matched in _selectors(nodes):
            if name not in known:
                yield f"no target exports {name}"
                return
            labels |= known[name].labels
            for label in sorted(matched - known[name].labels):
                yield f"{name} has no label {label}; it has {', '.join(sorted(known[name].labels))}"
        for label in sorted(_groupings(nodes) - labels):
            yield f"no metric of it has the label {label}"


def histogram_of(expression: str, known: Mapping[str, Exported]) -> Exported | None:
    """Return the histogram whose buckets the expression reads."""
    names = sorted(parse(expand(expression, Choice())).metric_names())
    return next((known[name] for name in names if name.endswith("_bucket")), None)


def empty(boards: Sequence[Board], has_series: HasSeries) -> list[str]:
    """Return `board/panel` of each panel with a query that yields nothing; those that need a feature are let off."""
    return [
        f"{board.key}/{panel.key}: {query.name or query.expression}"
        for board in boards
        for panel in board.panels
        for query in panel.queries
        if not panel.needs and not has_series(expand(query.expression, Choice()))
    ]


def _selectors(nodes: Iterable[tree.Node]) -> Iterator[tuple[str, set[str]]]:
    for node in nodes:
        if isinstance(node, tree.Selector):
            name = next((one.value for one in node.matchers if (one.name, one.operator) == (NAME, "=")), "")
            yield name, {one.name for one in node.matchers} - {NAME}


def _groupings(nodes: Iterable[tree.Node]) -> set[str]:
    return {label for node in nodes if isinstance(node, tree.Aggregation) for label in node.labels}


def main() -> None:
    from llm_monitor.boards.catalog import BOARDS

    if found := undefined(BOARDS, exported()):
        sys.exit("\n".join(found))
    print(f"{sum(len(board.panels) for board in BOARDS)} panels name only metrics that a target exports")


if __name__ == "__main__":
    main()
