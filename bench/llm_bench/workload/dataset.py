"""Prompts from a file: JSON lines or ShareGPT.

JSONL      {"prompt": "…", "output_tokens": 120}         or "text", or "messages"; the length is optional
ShareGPT   [{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}, …]}, …]

A conversation contributes its first question as the prompt and its first answer's length as the recorded one. A bad row
is an error that names it, unless bad rows are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from llm_bench.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class PromptSample:
    prompt: str
    output_tokens: int | None = None
    answer: str | None = None
    """The answer, if the file has it instead of its length."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not self.prompt.strip():
            raise ValueError("the prompt is empty or is not text")
        if self.output_tokens is not None and self.output_tokens < 1:
            raise ValueError(f"output_tokens must be at least 1, not {self.output_tokens}")


@dataclass(frozen=True, slots=True)
class PromptSamples:
    rows: tuple[PromptSample, ...]
    skipped: int = 0


class PromptFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path
    skip_bad_rows: bool = False

    def read(self) -> PromptSamples:
        return read_samples(self.file, self.skip_bad_rows)


@cache
def read_samples(path: Path, skip_bad_rows: bool = False) -> PromptSamples:
    """Return the samples of a file. Raises ScenarioError, which names file and row."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{path}: the prompts cannot be read: {error}") from error
    rows, skipped = [], 0
    for where, raw in _entries(path, data):
        try:
            rows.append(_sample(orjson.loads(raw) if isinstance(raw, bytes) else raw))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            if not skip_bad_rows:
                what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                raise ScenarioError(f"{path}:{where}: {what}; --skip-bad-rows leaves such rows out") from error
            skipped += 1
    if not rows:
        raise ScenarioError(f"{path}: has no prompt" + (f"; {skipped} bad rows were skipped" if skipped else ""))
    return PromptSamples(tuple(rows), skipped)


def _entries(path: Path, data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield (line number, line) of JSON lines, or (entry number, entry) of a JSON list."""
    if not data.lstrip().startswith(b"["):
        yield from ((str(number), line) for number, line in enumerate(data.splitlines(), start=1) if line.strip())
        return
    try:
        yield from ((f"entry {number}", entry) for number, entry in enumerate(orjson.loads(data), start=1))
    except orjson.JSONDecodeError as error:
        raise ScenarioError(f"{path}: is not JSON: {error}") from error


def _sample(row: Any) -> PromptSample:
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    if "conversations" in row:
        said = row["conversations"]
        asked = next(
            index for index, turn in enumerate([*said, None]) if turn is None or turn["from"] in ("human", "user")
        )
        if asked + 1 >= len(said):
            raise ValueError("no question with an answer")
        return PromptSample(said[asked]["value"], answer=str(said[asked + 1]["value"]))
    if "messages" in row:
        return PromptSample("\n".join(str(message["content"]) for message in row["messages"]), row.get("output_tokens"))
    return PromptSample(row["prompt"] if "prompt" in row else row["text"], row.get("output_tokens"))
