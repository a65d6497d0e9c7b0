import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from llm_bench.errors import ResultError
from llm_bench.results.disk_space import write_result
from llm_bench.results.result import CSV_FILE, RESULT_FILE, Result, read_result, result_schema

MakeResult = Callable[..., Result]


def test_what_is_written_is_read_back(tmp_path: Path, make_result: MakeResult) -> None:
    result = make_result(waits={"interactive": 0.2, "batch": 3.0})

    write_result(result, tmp_path)

    read = read_result(tmp_path)
    assert read.run == result.run
    assert read.scenario == result.scenario
    assert read.summary == result.summary
    assert read.verdict == result.verdict
    assert read.environment == result.environment
    assert read.requests[3].ttft == pytest.approx(result.requests[3].ttft)
    assert read_result(tmp_path / RESULT_FILE) == read


def test_the_csv_has_a_line_for_every_request(tmp_path: Path, make_result: MakeResult) -> None:
    write_result(make_result(waits={"interactive": 0.25}, outcome="reset"), tmp_path)

    with (tmp_path / CSV_FILE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert (rows[0]["outcome"], rows[0]["ttft"]) == ("reset", "")
    assert (rows[1]["outcome"], rows[1]["ttft"], rows[1]["tpot"]) == ("ok", "0.250000", "0.100000")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path, make_result: MakeResult, start: str) -> None:
    result = make_result(waits={f"{start}cmd": 0.25})
    for record in result.requests:
        record.detail = f"{start}HYPERLINK(1)"
        record.tenant = record.model = f"{start}1"
        record.sent_at = (record.scheduled_at or 0.0) - 0.001  # a negative lag stays a number

    write_result(result, tmp_path)

    with (tmp_path / CSV_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["detail"], rows[0]["schedule_lag"]) == (f"'{start}HYPERLINK(1)", "-0.001000")
    cells = [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert all(float(cell) < 0 for cell in cells)


def test_a_turn_that_never_came_due_has_no_scheduled_time(tmp_path: Path, make_result: MakeResult) -> None:
    result = make_result(waits={"interactive": 0.2})
    turn = result.requests[-1]
    turn.outcome, turn.follows, turn.scheduled_at = "not_sent", 0, 0.7  # 0.7 s of thinking, as version 1 wrote it

    write_result(replace(result, schema_version=1), tmp_path)

    read = read_result(tmp_path)
    assert (read.requests[-1].scheduled_at, read.requests[-1].think_seconds) == (None, 0.7)
    assert read.requests[-2].scheduled_at == result.requests[-2].scheduled_at
    assert read.schema_version == 2


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"schema_version": 1}'])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / RESULT_FILE).write_text(content)

    with pytest.raises(ResultError, match=r"result\.json: is not a result"):
        read_result(tmp_path)


def test_a_result_of_before_there_were_gpus_keys_and_full_disks_is_still_read(
    tmp_path: Path, make_result: MakeResult
) -> None:
    write_result(make_result(waits={"interactive": 0.2}), tmp_path)
    old = orjson.loads((tmp_path / RESULT_FILE).read_bytes())
    for part, keys in (
        (old, ("gpu", "partial")),
        (old["run"], ("api_key_env",)),
        (old["scenario"], ("tenant_key_envs",)),
    ):
        for key in keys:
            del part[key]
    (tmp_path / RESULT_FILE).write_bytes(orjson.dumps(old))

    read = read_result(tmp_path)

    assert (read.gpu, read.partial, read.run.api_key_env, read.scenario.tenant_key_envs) == (None, None, None, {})


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"gone: cannot be read: No such file"):
        read_result(tmp_path / "gone")


def test_the_schema_names_every_key_of_a_result(tmp_path: Path, make_result: MakeResult) -> None:
    schema = result_schema()
    write_result(make_result(waits={"interactive": 0.25}), tmp_path)
    written = orjson.loads((tmp_path / RESULT_FILE).read_bytes())

    def definition(name: str) -> dict[str, Any]:
        found: dict[str, Any] = schema["$defs"][name]
        return found

    for part, values in (
        (schema, written),
        (definition("RunInfo"), written["run"]),
        (definition("RunSummary"), written["summary"]),
        (definition("ClassFigures"), written["summary"]["classes"]["all"]),
        (definition("RequestRecord"), written["requests"][0]),
    ):
        assert set(values) == set(part["properties"])
        assert set(part["required"]) <= set(values)
    assert schema["$schema"].endswith("2020-12/schema")
