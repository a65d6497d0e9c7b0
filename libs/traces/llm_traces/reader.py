"""Read a recorded load from a file, whatever wrote it and however it is packed.

- Files are UTF-8, with or without a byte order mark, plain or gzip; lines end in LF or CRLF; blank ones do not count.
- Rows can be in any order. They come sorted by time; times count from the first request.
- A row with 0 prompt or output tokens is left out and counted (`RequestTrace.empty`): BurstGPT logs failed requests so.
- A bad row is an error that names its line, unless bad rows are skipped and counted (`RequestTrace.skipped`).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import orjson

from llm_traces.clock import NANOSECONDS
from llm_traces.formats import KNOWN, RawRow, csv_format, read_json_line, read_result
from llm_traces.rows import BadRowError, RequestTrace, TraceError

GZIP_MAGIC = b"\x1f\x8b"

Parser = Callable[[], RawRow]


def read_trace(path: Path, *, skip_bad_rows: bool = False) -> RequestTrace:
    """Return the trace in `path`, which holds one request or more. Raises TraceError."""
    try:
        with _open(path) as file:
            return _collect(path, file, skip_bad_rows)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: the trace cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _collect(path: Path, file: TextIO, skip_bad_rows: bool) -> RequestTrace:
    found: list[RawRow] = []
    skipped = empty = 0
    for number, parse in _parsers(path, file):
        try:
            raw = parse()
        except (ValueError, KeyError, TypeError) as error:
            if not skip_bad_rows:
                what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                raise BadRowError(f"{path}:{number}: {what}") from error
            skipped += 1
            continue
        if raw.is_empty:
            empty += 1
        else:
            found.append(raw)
    if not found:
        why = [f"; {empty} rows have 0 tokens"] * bool(empty) + [f"; {skipped} bad rows were skipped"] * bool(skipped)
        raise TraceError(f"{path}: holds no request{''.join(why)}")
    found.sort(key=lambda raw: raw.nanoseconds)
    start = found[0].nanoseconds
    rows = (replace(raw.row, at=(raw.nanoseconds - start) / NANOSECONDS) for raw in found)
    return RequestTrace(tuple(rows), skipped, empty)


def _parsers(path: Path, file: TextIO) -> Iterator[tuple[int, Parser]]:
    """Yield (line number, what reads that line's row) for each line that is not blank."""
    begins, first = next(((number, line) for number, line in enumerate(file, start=1) if line.strip()), (1, ""))
    if not first.lstrip().startswith("{"):
        yield from _csv_rows(path, begins, first, file)
        return
    lines: Iterable[str] = chain([first], file)
    if first.strip() == "{":  # an indented document, or a bad line
        lines = (first + file.read()).splitlines(keepends=True)
        document = _document("".join(lines))
    else:
        document = _document(first)
    if document is not None:
        yield from ((begins, parse) for parse in read_result(document))
        return
    for number, line in enumerate(lines, start=begins):
        if line.strip():
            yield number, lambda line=line: read_json_line(line)  # type: ignore[misc]  # bound now, not when called


def _document(text: str) -> dict[str, Any] | None:
    """Return a result.json's object; None for anything else."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("requests"), list) else None


def _csv_rows(path: Path, number: int, header: str, file: TextIO) -> Iterator[tuple[int, Parser]]:
    """Yield the rows of a CSV. `number`: the header's line; `file`: positioned after it."""
    columns = [name.strip() for name in next(csv.reader([header]), [])]
    read = csv_format(columns)
    if read is None:
        raise TraceError(f"{path}:{number}: is no trace that is known, it begins {header[:60]!r}: {KNOWN}")
    reader = csv.reader(file, skipinitialspace=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            message = str(error)
            yield number + reader.line_num, lambda message=message: _refuse(message)  # type: ignore[misc]
            continue
        if any(cell.strip() for cell in cells):
            yield number + reader.line_num, lambda cells=cells: read(_named(columns, cells))  # type: ignore[misc]


def _refuse(message: str) -> RawRow:
    raise ValueError(message)


def _named(columns: list[str], cells: list[str]) -> Mapping[str, str]:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} columns where the header has {len(columns)}")
    return dict(zip(columns, cells, strict=True))
