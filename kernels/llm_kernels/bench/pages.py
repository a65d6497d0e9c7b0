"""The tables in the pages, generated from the results' files.

llm-kernels pages        # rewrites what stands between <!-- rungs --> and <!-- /rungs --> in ladders/*/README.md,
                         # and <!-- counters --> there, and <!-- ops --> in kernels/README.md
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from llm_kernels.bench.report import duration
from llm_kernels.ladders import LADDERS, rungs_of
from llm_kernels.ladders.base import Ladder, folder

OWN = ("cuda", "triton")
NOT_MEASURED = "not measured yet"


def results_folder() -> Path:
    return folder().parent / "results"


def rewrite_all() -> list[Path]:
    """Rewrite every page; return those whose text changed."""
    changed = []
    for path in (folder().parent / "README.md", *(folder() / name / "README.md" for name in LADDERS)):
        before = path.read_text()
        if (after := remade(path)) != before:
            path.write_text(after)
            changed.append(path)
    return changed


def remade(path: Path) -> str:
    """Return the page with its tables generated from the results' files."""
    page = path.read_text()
    if path.parent.name not in LADDERS:
        return rewritten(page, "ops", op_table(results("bench.json")))
    ladder = LADDERS[path.parent.name]
    page = rewritten(page, "rungs", table(ladder, results()))
    return rewritten(page, "counters", counters(ladder, results("profiles.json")))


def rewritten(page: str, mark: str, text: str) -> str:
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def results(name: str = "ladders.json") -> list[dict[str, Any]]:
    """Return the content of every file of that name under `kernels/results/`."""
    return [json.loads(path.read_text()) for path in sorted(results_folder().glob(f"**/{name}"))]


def op_table(documents: list[dict[str, Any]]) -> str:
    """Return a row for each of our implementations at each serving shape; one table per measured GPU."""
    parts = []
    for document in documents:
        environment, ceilings = document["environment"], document["ceilings"]
        bandwidth, rate = ceilings["copy_bytes_per_second"], ceilings["flops_per_second"]["bf16"]
        lines = [
            f"{environment['gpu']}, torch {environment['torch']}, triton {environment['triton']}; copies "
            f"{bandwidth / 1e12:.2f} TB/s, bf16 products {rate / 1e12:.0f} TFLOP/s:",
            "",
            "| op | implementation | shape | time | of limit | against the best library |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_op_line(row) for row in document["rows"] if row["implementation"] in OWN and row["seconds"]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or NOT_MEASURED


def _op_line(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio_to_library']:.2f}x {row['library']}" if row.get("ratio_to_library") else ""
    time = duration(row["seconds"], row["spread"])
    shape = f"{row['shape']} {row['dtype']}"
    return f"| `{row['op']}` | {row['implementation']} | {shape} | {time} | {row['fraction_of_limit']:.0%} | {ratio} |"


def table(ladder: Ladder, documents: list[dict[str, Any]]) -> str:
    """Return a row per rung; one group of lines per measured GPU."""
    measured = [
        (d, {r["implementation"]: r for r in d["rows"] if r["op"] == f"ladder {ladder.name}"}) for d in documents
    ]
    measured = [(d, rows) for d, rows in measured if rows]
    if not measured:
        return "\n".join([_heading(), *(_line(r.path.name, r.prediction, None, None) for r in rungs_of(ladder.name))])
    parts = []
    for document, rows in measured:
        environment = document.get("environment") or {}
        lines = [f"{environment.get('gpu', 'unknown GPU')}, torch {environment.get('torch', '?')}:", "", _heading()]
        previous = None
        for rung in rungs_of(ladder.name):
            row = rows.get(rung.name)
            lines.append(_line(rung.path.name, rung.prediction, row, previous))
            previous = row if row and row.get("seconds") else previous
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


COUNTERS = {
    "DRAM": "DRAM Throughput",
    "L2 hits": "L2 Hit Rate",
    "tensor cores busy": "tensor cores busy",
    "issue slots busy": "Issue Slots Busy",
    "occupancy": "Achieved Occupancy",
}
WAITING = "warps waiting "


def counters(ladder: Ladder, documents: list[dict[str, Any]]) -> str:
    """Return ncu's counters of each rung's longest kernel; one table for each GPU that was profiled."""
    parts = []
    for document in documents:
        lines = [
            f"| {document['environment']['gpu']} | {' | '.join(COUNTERS)} | warps wait most |",
            "| --- |" + " --- |" * (len(COUNTERS) + 1),
        ]
        for rung in rungs_of(ladder.name):
            target = f"ladder:{ladder.name}/{rung.name}"
            if found := [p["counters"] for p in document["profiles"] if p["target"] == target]:
                lines.append(_counters_line(rung.path.name, max(found, key=lambda c: _number(c.get("Duration", "0")))))
        if len(lines) > 2:
            parts.append("\n".join(lines))
    return "\n\n".join(parts) or NOT_MEASURED


def _counters_line(name: str, found: dict[str, str]) -> str:
    shown = [found.get(metric, "").replace(" %", "%") for metric in COUNTERS.values()]
    waits = {k.removeprefix(WAITING).removesuffix(", an issue"): v for k, v in found.items() if k.startswith(WAITING)}
    longest = max(waits, key=lambda wait: _number(waits[wait]), default="")
    return f"| {name} | {' | '.join(shown)} | {longest} |"


def _number(text: str) -> float:
    return float(text.split()[0].replace(",", ""))


def _heading() -> str:
    return "| rung | predicted | time | step | of limit | against the library |\n| --- | --- | --- | --- | --- | --- |"


def _line(name: str, prediction: str, row: dict[str, Any] | None, previous: dict[str, Any] | None) -> str:
    if row is None or not row.get("seconds"):
        said = f"failed: {row['wrong']}" if row and row.get("wrong") else NOT_MEASURED
        return f"| [{name}]({name}) | {prediction} | {said} | | | |"
    same = previous is not None and previous["shape"] == row["shape"]
    step = f"{previous['seconds'] / row['seconds']:.2f}x" if previous is not None and same else ""
    ratio = f"{row['ratio_to_library']:.2f}x {row['library']}"
    time = f"{duration(row['seconds'], row['spread'])} ({row['shape']})"
    return f"| [{name}]({name}) | {prediction} | {time} | {step} | {row['fraction_of_limit']:.1%} | {ratio} |"
