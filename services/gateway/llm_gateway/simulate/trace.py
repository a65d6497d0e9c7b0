"""Requests to replay, from files of known formats, told apart by their first line.

Azure       CSV   TIMESTAMP,ContextTokens,GeneratedTokens
BurstGPT    CSV   Timestamp, …, Request tokens, Response tokens, …       seconds; no response tokens: failed, left out
Mooncake    JSONL {"timestamp": ms, "input_length": …, "output_length": …}
llm-bench   JSON  the result.json of a run: its schedule, with its classes

Only llm-bench's files know classes; the others get theirs, and all get their tenants, from a `Mix`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson


class TraceError(Exception):
    """The file cannot be replayed; the message says where and why."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    at: float
    """Seconds after the start of the trace."""
    class_name: str
    tenant: str
    prompt_tokens: int
    output_tokens: int
    """What it generates if it is served."""
    max_tokens: int | None = None
    """What the gateway is told; None if the trace does not say."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Parts of the requests that each class and each tenant gets, drawn independently."""

    classes: Mapping[str, float]
    tenants: Mapping[str, float]

    def draw(self, seed: int) -> Iterator[tuple[str, str]]:
        """(class, tenant) of one request after the other; the same for the same seed."""
        source = random.Random(seed)
        names, parts = list(self.classes), list(self.classes.values())
        tenants, shares = list(self.tenants), list(self.tenants.values())
        while True:
            yield from zip(source.choices(names, parts, k=1024), source.choices(tenants, shares, k=1024), strict=True)


Row = tuple[float, int, int]
"""(time in seconds from any origin, prompt tokens, output tokens)"""


def read_trace(path: Path, mix: Mix, seed: int) -> list[TraceRequest]:
    """By arrival, from 0 on. Raises TraceError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            requests = _requests(path, first, file, mix, seed)
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from None
    if not requests:
        raise TraceError(f"{path}: holds no request")
    return _from_zero(requests)


def _requests(path: Path, first: str, file: Iterable[str], mix: Mix, seed: int) -> list[TraceRequest]:
    header = {name.strip() for name in first.split(",")}
    if "ContextTokens" in header:
        rows = _csv_rows(path, file, _azure)
    elif "Request tokens" in header:
        rows = _csv_rows(path, file, _burst_gpt)
    elif '"input_length"' in first:
        rows = _mooncake(path, file)
    elif first.lstrip().startswith("{"):
        return list(_bench(path, "".join(file), mix, seed))
    else:
        raise TraceError(f"{path}: not a trace of Azure, BurstGPT, Mooncake or llm-bench; it begins {first[:60]!r}")
    pairs = mix.draw(seed)
    return [TraceRequest(at, *next(pairs), max(1, prompt), output) for at, prompt, output in rows if output > 0]


def _from_zero(requests: list[TraceRequest]) -> list[TraceRequest]:
    requests.sort(key=lambda request: request.at)
    start = requests[0].at
    return [
        TraceRequest(one.at - start, one.class_name, one.tenant, one.prompt_tokens, one.output_tokens, one.max_tokens)
        for one in requests
    ]


def _csv_rows(path: Path, file: Iterable[str], read: Callable[[dict[str, str]], Row]) -> Iterator[Row]:
    for number, row in enumerate(csv.DictReader(file, skipinitialspace=True), start=2):
        try:
            yield read(row)
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{path}: line {number}: {error!r}") from None


def _azure(row: dict[str, str]) -> Row:
    moment = datetime.fromisoformat(row["TIMESTAMP"]).timestamp()
    return moment, int(row["ContextTokens"]), int(row["GeneratedTokens"])


def _burst_gpt(row: dict[str, str]) -> Row:
    return float(row["Timestamp"]), int(row["Request tokens"]), int(row["Response tokens"])


def _mooncake(path: Path, file: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        try:
            row = orjson.loads(line)
            yield row["timestamp"] / 1000, int(row["input_length"]), int(row["output_length"])
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{path}: line {number}: {error!r}") from None


def _bench(path: Path, text: str, mix: Mix, seed: int) -> Iterator[TraceRequest]:
    """A request that was turned away is offered again: the schedule is the load, not what became of it."""
    try:
        records: list[dict[str, Any]] = orjson.loads(text)["requests"]
        for record, (_, tenant) in zip(records, mix.draw(seed), strict=False):
            limit = int(record["max_tokens"])
            output = int(record["output_tokens"]) if record["outcome"] == "ok" else limit
            prompt = max(1, int(record["prompt_tokens"]))
            yield TraceRequest(float(record["scheduled_at"]), record["class_name"], tenant, prompt, output, limit)
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{path}: not a result of llm-bench: {error!r}") from None
