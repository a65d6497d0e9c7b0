"""A run on disk: `result.json` with everything, `requests.csv` with one line per request.

New keys come with a default, so older results can still be read. SCHEMA_VERSION grows when a key changes its meaning or
goes:

2   `scheduled_at` is null for a turn that never came due; version 1 has that turn's thinking time there
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from llm_bench.errors import ResultError
from llm_bench.measure.gpu import GpuMetrics
from llm_bench.measure.record import NOT_SENT, RequestRecord
from llm_bench.measure.server_metrics import ServerMetrics
from llm_bench.measure.stats import Distribution
from llm_bench.measure.summary import RunSummary
from llm_bench.measure.verdict import NOT_LOOKED_AT, RunVerdict
from llm_bench.results.environment import Environment
from llm_bench.results.spreadsheet import quote_formula
from llm_bench.workload.scenario import Scenario

SCHEMA_VERSION = 2
RESULT_FILE = "result.json"
CSV_FILE = "requests.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    name: str
    target: str
    model: str
    server_version: str | None
    seed: int
    salt: str
    """Text that made this run's prompts differ from those of any other run with its seed."""
    tokenizer: str | None
    started_at: str
    """ISO 8601, UTC."""
    interrupted: bool
    client_cpu: float
    """CPU seconds of the client per second of the run."""
    loop_lag: Distribution = NOT_LOOKED_AT
    """How late the client's event loop ran, in seconds."""
    api_key_env: str | None = None
    """Environment variable that the API key came from, if one was sent; the key itself is nowhere."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Why a result does not hold everything."""

    reason: str
    missing: list[str]
    """Fields that could not be written."""

    def __str__(self) -> str:
        return f"partial, without {', '.join(self.missing)}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    schema_version: int
    run: RunInfo
    scenario: Scenario
    environment: Environment
    summary: RunSummary
    verdict: RunVerdict
    requests: list[RequestRecord]
    """The schedule and what became of it, by arrival."""
    server: ServerMetrics | None = None
    """The server's own account, if it exports metrics."""
    gpu: GpuMetrics | None = None
    """The GPUs of the machine that the client ran on, if it has any."""
    partial: Partial | None = None
    """Set if the disk had no room for all of it. The figures still cover the whole run."""


RESULT = TypeAdapter(Result)

_COLUMNS = (
    "index", "class_name", "outcome", "status", "scheduled_at", "sent_at", "headers_at", "first_token_at", "ended_at",
    "schedule_lag", "ttft", "ttft_from_send", "tpot", "e2e", "planned_prompt_tokens", "prompt_tokens",
    "max_tokens", "output_tokens", "tenant", "model", "follows", "detail",
)  # fmt: skip


def read_result(folder: Path) -> Result:
    """Return the result in `folder`, or in the file itself if a file is named. Raises ResultError."""
    path = folder / RESULT_FILE if folder.is_dir() else folder
    try:
        return _upgrade(RESULT.validate_json(path.read_bytes()))
    except OSError as error:
        raise ResultError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ResultError(f"{path}: is not a result of this version of llm-bench: {where} {problem['msg']}") from error


def _upgrade(result: Result) -> Result:
    if result.schema_version >= SCHEMA_VERSION:
        return result
    never_due = (record for record in result.requests if record.outcome == NOT_SENT and record.follows is not None)
    for record in never_due:
        record.scheduled_at, record.think_seconds = None, record.scheduled_at or 0.0
    return replace(result, schema_version=SCHEMA_VERSION)


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of `result.json`."""
    schema = RESULT.json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "llm-bench result", **schema}


def encode_result(result: Result, *, indent: bool = True) -> bytes:
    plain: dict[str, Any] = RESULT.dump_python(result, mode="json")
    for request in plain["requests"]:
        request["chunk_times"] = [round(at, 6) for at in request["chunk_times"]]
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2 if indent else None)


def encode_csv(records: Sequence[RequestRecord]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(getattr(record, column)) for column in _COLUMNS] for record in records)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return quote_formula(value)
    return f"{value:.6f}" if isinstance(value, float) else value
