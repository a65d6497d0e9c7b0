"""The report's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from llm_bench.errors import ResultError
from llm_bench.report.compare import compare
from llm_bench.report.markdown import render_markdown
from llm_bench.report.page import render_page
from llm_bench.results.result import Result


def write_report(
    results: Sequence[Result],
    *,
    title: str | None = None,
    html: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
) -> None:
    """Write the files that are named, and make their folders."""
    heading = title or " vs ".join(result.run.name for result in results)
    if html is not None:
        write_file(html, render_page(results, heading).encode())
    if json is not None:
        write_file(json, orjson.dumps(report_data(results, heading), option=orjson.OPT_INDENT_2))
    if markdown is not None:
        write_file(markdown, render_markdown(results, heading).encode())


def report_data(results: Sequence[Result], title: str) -> dict[str, Any]:
    """Return the comparison, and each run without its single requests."""
    return {
        "schema_version": 1,
        "title": title,
        "runs": [
            {
                "run": asdict(result.run),
                "verdict": asdict(result.verdict),
                "partial": asdict(result.partial) if result.partial else None,
                "scenario": result.scenario.model_dump(mode="json"),
                "environment": {**asdict(result.environment), "fingerprint": result.environment.fingerprint},
                "summary": asdict(result.summary),
                "server": asdict(result.server) if result.server else None,
                "gpu": asdict(result.gpu) if result.gpu else None,
            }
            for result in results
        ],
        "comparison": [asdict(row) for row in compare(results)],
    }


def write_file(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ResultError(f"{path}: cannot be written: {error}") from error
