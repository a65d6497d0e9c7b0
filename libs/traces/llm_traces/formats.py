"""The formats, and how a row of each is read.

Azure       CSV    TIMESTAMP,ContextTokens,GeneratedTokens                      times of day, see `clock`
BurstGPT    CSV    Timestamp, …, Request tokens, Response tokens, …             seconds
Mooncake    JSONL  {"timestamp", "input_length", "output_length", "hash_ids"}   milliseconds; hash_ids can be left out
llm-bench   JSONL  {"at", "prompt_tokens", "output_tokens", "class"}            seconds; class can be left out
llm-bench   JSON   the result.json of a run: its schedule

Columns can stand in any order, with others between them; unknown columns and keys are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from llm_traces.clock import parse_time, to_nanoseconds
from llm_traces.rows import TraceRow

KNOWN = (
    "Azure's CSV has TIMESTAMP,ContextTokens,GeneratedTokens, BurstGPT's Timestamp,…,Request tokens,Response tokens; "
    "Mooncake's and llm-bench's are JSON lines; a result.json of llm-bench is one JSON object with requests"
)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row whose time still counts from the recording's own origin."""

    nanoseconds: int
    row: TraceRow
    """Its `at` is not set."""

    @property
    def is_empty(self) -> bool:
        """Whether the request has 0 tokens in or out: it failed (BurstGPT), and it cannot be sent again."""
        return not self.row.prompt_tokens or not self.row.output_tokens


def csv_format(columns: list[str]) -> Callable[[Mapping[str, str]], RawRow] | None:
    """Return the reader for rows of a CSV file with these columns, None if no trace format has them."""
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= set(columns):
        return _azure
    if {"Timestamp", "Request tokens", "Response tokens"} <= set(columns):
        return _burst_gpt
    return None


def read_json_line(line: str) -> RawRow:
    """Read a row of Mooncake's or of our own JSON lines. Raises ValueError, TypeError or KeyError."""
    row = orjson.loads(line)
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    if "input_length" in row or "hash_ids" in row:
        return _mooncake(row)
    name = row.get("class")
    return _raw(_seconds(row["at"]), row["prompt_tokens"], row["output_tokens"], None if name is None else str(name))


def read_result(document: Any) -> Iterator[Callable[[], RawRow]]:
    """Yield what reads each request of a `result.json`; a request that was turned away is offered again.

    Turns of a conversation that never came due have no time and are passed over.
    """
    for record in document["requests"]:
        if not isinstance(record, dict) or record.get("outcome") != "not_sent" or record.get("follows") is None:
            yield lambda record=record: _bench_request(record)  # type: ignore[misc]  # bound now, not when called


def _azure(row: Mapping[str, str]) -> RawRow:
    return _raw(parse_time(row["TIMESTAMP"]), row["ContextTokens"], row["GeneratedTokens"])


def _burst_gpt(row: Mapping[str, str]) -> RawRow:
    return _raw(_seconds(row["Timestamp"]), row["Request tokens"], row["Response tokens"])


def _mooncake(row: dict[str, Any]) -> RawRow:
    blocks = row.get("hash_ids") or []
    if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
        raise ValueError("hash_ids must be a list of whole numbers")
    raw = _raw(_seconds(row["timestamp"], 1e-3), row["input_length"], row["output_length"])
    return RawRow(raw.nanoseconds, TraceRow(0.0, raw.row.prompt_tokens, raw.row.output_tokens, None, tuple(blocks)))


def _bench_request(record: dict[str, Any]) -> RawRow:
    limit = _tokens(record["max_tokens"])
    output = _tokens(record["output_tokens"]) if record["outcome"] == "ok" else limit
    row = TraceRow(0.0, _tokens(record["prompt_tokens"]), output, str(record["class_name"]), max_tokens=limit)
    return RawRow(_seconds(record["scheduled_at"]), row)


def _raw(nanoseconds: int, prompt: Any, output: Any, class_name: str | None = None) -> RawRow:
    return RawRow(nanoseconds, TraceRow(0.0, _tokens(prompt), _tokens(output), class_name))


def _seconds(value: Any, unit: float = 1.0) -> int:
    if isinstance(value, bool):
        raise ValueError(f"a time must be a number, not {value!r}")
    return to_nanoseconds(float(value) * unit)


def _tokens(value: Any) -> int:
    """Return a number of tokens, from a JSON number or the text of a cell; `472.0` is 472."""
    number = float(value) if not isinstance(value, bool) else -1.0
    if not number.is_integer() or number < 0:
        raise ValueError(f"a token count must be a whole number and not below 0, not {value!r}")
    return int(number)
