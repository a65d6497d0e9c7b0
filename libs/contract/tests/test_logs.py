"""Lines of the log: their fields, the ids of their request, and nothing that the request said."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llm_contract import logs
from llm_contract.logs import AccessLines, LogFormat

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
log = logging.getLogger("llm_test.part")


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level, sys.excepthook = handlers, level, hook
    logging.captureWarnings(False)
    logs.concern_nothing()


def configured(log_format: LogFormat) -> None:
    logs.configure("llm-test", log_format)


def only_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (line,) = capsys.readouterr().err.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_json_line_has_time_level_service_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    configured("json")
    log.warning("engine %s is\ndown", "e0")
    line = only_line(capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "WARNING",
        "service": "llm-test",
        "logger": "llm_test.part",
        "message": "engine e0 is\ndown",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_lines_within_a_request_carry_its_ids(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> None:
    configured(log_format)

    async def request() -> None:
        logs.concern("r-1", TRACE_ID)
        await asyncio.gather(asyncio.create_task(line()))

    async def line() -> None:
        log.warning("inside")

    asyncio.run(request())
    inside = capsys.readouterr().err
    assert TRACE_ID in inside
    assert "r-1" in inside
    log.warning("outside")
    assert TRACE_ID not in capsys.readouterr().err


def test_a_line_can_name_a_request_itself(capsys: pytest.CaptureFixture[str]) -> None:
    configured("json")
    logs.concern("r-1", TRACE_ID)
    log.error("another", extra=logs.ids("r-2", None))
    line = only_line(capsys)
    assert line["request_id"] == "r-2"
    assert "trace_id" not in line


def fail(word: str) -> None:
    try:
        int(word)
    except ValueError as error:
        raise RuntimeError(f"cannot use {word}") from error


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("about_a_request", [True, False])
def test_an_exception_quotes_nothing_if_it_concerns_a_request(
    log_format: LogFormat, about_a_request: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(log_format)
    extra = logs.ids("r-1", TRACE_ID) if about_a_request else None
    word = "xylo" + "phone"  # the stack shows this line of the source
    try:
        fail(word)
    except RuntimeError:
        log.exception("it failed", extra=extra)
    written = capsys.readouterr().err
    for part in ("ValueError", "RuntimeError", "test_logs.py", "in fail"):
        assert part in written
    assert ("xylophone" in written) != about_a_request
    if log_format == "json":
        assert len(written.splitlines()) == 1
        assert "exception" in json.loads(written)


def test_an_uncaught_exception_is_one_line() -> None:
    program = 'from llm_contract import logs; logs.configure("llm-test", "json"); import warnings; 1 / 0'
    path = [entry for entry in sys.path if entry]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {program}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert json.loads(line)["level"] == "CRITICAL"
    assert "ZeroDivisionError" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("lines", "status", "outcome", "written"),
    [
        ("off", 500, "internal", False),
        ("errors", 200, "ok", False),
        ("errors", 400, "invalid_request", False),
        ("errors", 429, "queue_full", False),
        ("errors", 499, "client_closed", True),
        ("errors", 502, "engine_failed", True),
        ("errors", 200, "engine_failed", True),
        ("all", 200, "ok", True),
    ],
)
def test_an_access_line_is_written_for_what_was_asked(
    lines: AccessLines, status: int, outcome: str, written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("llm-test", "json", logging.WARNING)
    logs.request_ended(lines, "POST /v1/completions", status=status, outcome=outcome, seconds=0.25)
    found = capsys.readouterr().err
    assert bool(found) == written
    if written:
        line = json.loads(found)
        assert (line["status"], line["outcome"], line["seconds"]) == (status, outcome, 0.25)
