"""Figures in pages, quizzes and cards: a value of a results file, so that no number is typed.

    services/engine/results/leaks.json :: requests                      10000
    services/engine/results/leaks.json :: requests | count              10,000
    results/x.json :: rows[policy=fcfs].ttft.0 | seconds                431 ms
    results/x.json :: paged.tokens / static.tokens | ratio              1.88×
    results/x.json :: "Qwen3-0.6B".share | .1%                          38.4%

A path goes through names, places in lists (`.0` or `[0]`), and rows of lists by the value of a field. A format is
Python's, or one of `llm_report.units`: count, rate, ratio, seconds, share.

A page writes a figure between double braces. Quizzes and cards name theirs in a table and write `{name}`:

    figures:
      static_ratio: "services/engine/results/continuous_batching.json :: continuous.ratio_to_static | .2f"
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm_course.errors import CourseError
from llm_course.paths import ROOT
from llm_report import units

FORM = re.compile(r"(?P<file>[\w./-]+\.json)\s*::\s*(?P<expression>.+?)(?:\s+\|\s+(?P<style>\S+))?")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
STEP = re.compile(r'(?P<name>[\w-]+)|"(?P<quoted>[^"]+)"|\[(?P<index>\d+)\]|\[(?P<field>[\w-]+)=(?P<value>[^\]]+)\]|\.')
NUMBER = re.compile(r"\d+(\.\d+)?")
OPERATION = re.compile(r"\s+([-+*/])\s+")
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
FORMATS: dict[str, Callable[[Any], str]] = {
    "count": units.count,
    "rate": units.rate,
    "ratio": units.ratio,
    "seconds": units.seconds,
    "share": units.share,
}


class FigureError(CourseError):
    """A figure that is not in its file, or that its format does not fit."""


def written(source: str, root: Path = ROOT) -> str:
    """Return the text of `file.json :: expression | format`; FigureError if it is none."""
    form = FORM.fullmatch(source.strip())
    if form is None:
        raise FigureError(f"{source!r} is no figure: write it as `file.json :: path.to.value | .2f`")
    return figure(root, form["file"], form["expression"], form["style"])


def table(figures: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    return {name: written(source, root) for name, source in figures.items()}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace `{name}` where `values` has the name; other braces stay as they are."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def figure(root: Path, file: str, expression: str, style: str | None = None) -> str:
    """Return the text of a figure; FigureError names file and path if there is none."""
    where = f"{file} :: {expression}"
    data = _read(root / file, where)
    left, *rest = OPERATION.split(expression.strip())
    value = _term(data, left, where)
    if len(rest) > 2:
        raise FigureError(f"{where}: one operation at most")
    try:
        if rest:
            value = OPERATIONS[rest[0]](value, _term(data, rest[1], where))
        return _formatted(value, style)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise FigureError(f"{where}: {value!r} as {style or 'text'}: {error}") from None


def value_at(data: Any, path: str, where: str) -> Any:
    """Follow a path into JSON data; FigureError if it leads nowhere."""
    end = 0
    for step in STEP.finditer(path):
        if step.start() != end:
            break
        end = step.end()
        data = _next(data, step, where)
    if end != len(path) or not path:
        raise FigureError(f"{where}: {path!r} is no path")
    return data


def _term(data: Any, text: str, where: str) -> Any:
    return float(text) if NUMBER.fullmatch(text) else value_at(data, text, where)


def _next(data: Any, step: re.Match[str], where: str) -> Any:
    if step[0] == ".":
        return data
    try:
        if step["field"]:
            (row,) = [row for row in data if str(row[step["field"]]) == step["value"]]
            return row
        index = step["index"] or (step["name"] if isinstance(data, list) else None)
        return data[int(index)] if index else data[step["name"] or step["quoted"]]
    except (KeyError, IndexError, TypeError, ValueError):
        raise FigureError(f"{where}: no {step[0]!r}; there is {_summary(data)}") from None


def _summary(data: Any) -> str:
    if isinstance(data, list):
        return f"a list of {len(data)}"
    return (", ".join(map(str, data)) if isinstance(data, dict) else repr(data))[:300]


def _formatted(value: Any, style: str | None) -> str:
    if isinstance(value, bool) and style is None:
        return "yes" if value else "no"
    if isinstance(value, dict | list | bool) or value is None:
        raise ValueError("it is no single value")
    if style is None:
        return str(value)
    return FORMATS[style](value) if style in FORMATS else format(value, style)


def _read(file: Path, where: str) -> Any:
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except OSError as error:
        raise FigureError(f"{where}: {error.strerror}") from None
    except ValueError as error:
        raise FigureError(f"{where}: no JSON: {error}") from None


@lru_cache(maxsize=64)
def _parsed(file: Path, changed: int) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
