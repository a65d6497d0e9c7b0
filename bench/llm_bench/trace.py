"""Recorded arrivals, with their lengths: one row a request.

Azure       CSV    TIMESTAMP,ContextTokens,GeneratedTokens            2023-11-16 18:15:46.6805900
BurstGPT    CSV    Timestamp,Model,Request tokens,Response tokens,…   seconds
Mooncake    JSONL  {"timestamp", "input_length", "output_length", "hash_ids"}   milliseconds; blocks of 512 tokens
ours        JSONL  {"at", "prompt_tokens", "output_tokens", "class"}  seconds; "class" may be left out

The format shows in the first line. A bad row is an error that names its line, unless bad rows are skipped; they are
counted then. Times start at the first row's; rows are sorted by time.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from llm_bench.errors import ScenarioError

MOONCAKE_BLOCK = 512
"""Tokens that one of its hash ids stands for."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    at: float
    """Seconds since the trace's first request."""
    prompt_tokens: int
    output_tokens: int
    class_name: str | None = None
    blocks: tuple[int, ...] = ()
    """Of the prompt, each MOONCAKE_BLOCK tokens: prompts that begin with the same ids begin with the same text."""

    def __post_init__(self) -> None:
        if not 0 <= self.at < float("inf"):
            raise ValueError(f"a time must be finite and not below 0, not {self.at}")
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise ValueError(f"token counts must be at least 1, not {self.prompt_tokens} and {self.output_tokens}")


@dataclass(frozen=True, slots=True)
class Trace:
    rows: tuple[TraceRow, ...]
    skipped: int = 0
    """Bad rows that were left out."""

    @property
    def seconds(self) -> float:
        """From the first request to the last."""
        return self.rows[-1].at


@cache  # a scenario asks for its rate and for its schedule; the file of a trace may be large
def read_trace(path: Path, skip_bad_rows: bool = False) -> Trace:
    """Raises ScenarioError that names file and line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _collect(path, file, skip_bad_rows)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: the trace cannot be read: {error}") from error


def _collect(path: Path, file: Iterable[str], skip_bad_rows: bool) -> Trace:
    rows, skipped = [], 0
    for number, parse in _parsers(path, iter(file)):
        try:
            rows.append(parse())
        except (ValueError, KeyError, TypeError) as error:
            if not skip_bad_rows:
                what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                raise ScenarioError(f"{path}:{number}: {what}; --skip-bad-rows leaves such rows out") from error
            skipped += 1
    if not rows:
        raise ScenarioError(f"{path}: holds no request" + (f"; {skipped} bad rows were skipped" if skipped else ""))
    rows.sort(key=lambda row: row.at)
    return Trace(tuple(replace(row, at=row.at - rows[0].at) for row in rows), skipped)


def _parsers(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Callable[[], TraceRow]]]:
    """(line number, what makes a row of that line) for each line that is not empty."""
    first = next(lines, "")
    if first.lstrip().startswith("{"):
        yield 1, lambda: _json_row(first)
        for number, line in enumerate(lines, start=2):
            if line.strip():
                yield number, lambda line=line: _json_row(line)  # type: ignore[misc]  # bound now, not when called
        return
    columns = next(csv.reader([first]), [])
    make = _csv_row(path, columns)
    reader = csv.reader(lines)
    for cells in reader:
        if cells:
            yield reader.line_num + 1, lambda cells=cells: make(_named(columns, cells))  # type: ignore[misc]


def _named(columns: list[str], cells: list[str]) -> Mapping[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} columns where the header has {len(columns)}")
    return dict(zip(columns, cells, strict=True))


def _csv_row(path: Path, columns: list[str]) -> Callable[[Mapping[str, str]], TraceRow]:
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= set(columns):
        return lambda row: TraceRow(_clock(row["TIMESTAMP"]), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
    if {"Timestamp", "Request tokens", "Response tokens"} <= set(columns):
        return lambda row: TraceRow(float(row["Timestamp"]), int(row["Request tokens"]), int(row["Response tokens"]))
    raise ScenarioError(
        f"{path}:1: is no trace that is known: Azure's CSV has TIMESTAMP,ContextTokens,GeneratedTokens, BurstGPT's "
        'Timestamp,…,"Request tokens","Response tokens", Mooncake\'s and ours are JSON lines'
    )


def _clock(text: str) -> float:
    """Azure writes seven digits of a second, one more than datetime reads."""
    whole, _, fraction = text.partition(".")
    digits = fraction.partition("+")[0].rstrip("Z")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + (float(f"0.{digits}") if digits else 0.0)


def _json_row(line: str) -> TraceRow:
    row: dict[str, Any] = orjson.loads(line)
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    if "hash_ids" in row or "input_length" in row:
        blocks = tuple(int(block) for block in row.get("hash_ids", ()))
        return TraceRow(
            float(row["timestamp"]) / 1000, int(row["input_length"]), int(row["output_length"]), None, blocks
        )
    name = row.get("class")
    return TraceRow(
        float(row["at"]), int(row["prompt_tokens"]), int(row["output_tokens"]), None if name is None else str(name)
    )
