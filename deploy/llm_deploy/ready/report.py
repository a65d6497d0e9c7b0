"""The results as a table, as JSON and as a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llm_deploy.ready.check import Result, State
from llm_report.template import fill_template

STYLES: dict[State, str] = {"green": "green", "red": "bold red", "skipped": "dim"}


def summary(results: Sequence[Result]) -> str:
    """Return the verdict and the counts: `NOT READY: 20 green, 1 red, 4 skipped`."""
    counts = Counter(result.finding.state for result in results)
    verdict = "NOT READY" if any(result.blocks for result in results) else "ready"
    return f"{verdict}: " + ", ".join(f"{counts[state]} {state}" for state in STYLES if counts[state])


def table(results: Sequence[Result], console: Console) -> None:
    found = Table(title=summary(results), title_justify="left")
    found.add_column("check", no_wrap=True)
    found.add_column("")
    found.add_column("evidence", overflow="fold")
    for result in results:
        state, red = result.finding.state, result.finding.state == "red"
        page = f"\n-> {result.check.page}" if red else ""
        level = " (recommended)" if red and not result.blocks else ""
        text = escape(result.finding.evidence + level + page)
        found.add_row(result.check.name, f"[{STYLES[state]}]{state}[/]", text)
    console.print(found)


def as_json(results: Sequence[Result], subject: str) -> str:
    rows = [
        {
            "check": result.check.name,
            "asserts": result.check.asserts,
            "how": result.check.how,
            "severity": result.check.severity,
            "state": result.finding.state,
            "evidence": result.finding.evidence,
            "page": result.check.page,
        }
        for result in results
    ]
    found = {"subject": subject, "time": _now(), "summary": summary(results), "checks": rows}
    return json.dumps(found, indent=2) + "\n"


def write(results: Sequence[Result], subject: str, folder: Path) -> Path:
    """Write ready.json and ready.html, and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ready.json").write_text(as_json(results, subject), encoding="utf-8")
    page = folder / "ready.html"
    page.write_text(
        fill_template(
            "llm_deploy.ready", "report.html", results=results, subject=subject, time=_now(), summary=summary(results)
        ),
        encoding="utf-8",
    )
    return page


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
