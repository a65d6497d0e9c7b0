"""Print the results as Markdown tables, for the README.

python quantize/benchmarks/quantize_tables.py peers
python quantize/benchmarks/quantize_tables.py methods
python quantize/benchmarks/quantize_tables.py models
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from llm_measure.results import measured_on, missed
from llm_report import units
from llm_report.markdown import table

RESULTS = Path(__file__).with_name("results")
PEERS = (
    "model",
    "method",
    "program",
    "perplexity",
    "less than the peer's, nats/token",
    "seconds",
    "CPU s",
    "memory MB",
)
METHODS = ("method", "weights", "perplexity", "change", "95% interval")


def peers() -> str:
    """Return what `against_peers` found."""
    rows = []
    for path in sorted(RESULTS.glob("against_peers*.json")):
        found = json.loads(path.read_text())
        rows.append([found["model"], "none", "", f"{found['full']['perplexity']:.3f}", "", "", "", ""])
        for method, result in found["methods"].items():
            rows += [_peer_row(found["model"], method, name, result) for name in ("ours", "llmcompressor")]
    return table(PEERS, rows, left=3)


def _peer_row(model: str, method: str, name: str, result: dict[str, Any]) -> list[str]:
    one, difference = result[name], result["difference"]
    less = f"{-difference['nats_per_token']:+.4f} [{-difference['high']:+.4f}, {-difference['low']:+.4f}]"
    return [
        *(model, method, name, f"{one['perplexity']:.3f}", less if name == "ours" else ""),
        *(f"{one['seconds']:.1f}", f"{one['cpu_seconds']:.1f}", f"{one['peak_bytes'] / 1e6:.0f}"),
    ]


def methods() -> str:
    """Return what `from_model_to_report` found."""
    found = json.loads((RESULTS / "from_model_to_report.json").read_text())
    rows = [[method, *_method_cells(one)] for method, one in found["methods"].items()]
    said = f"{found['seconds'] / 60:.1f} minutes, and {found['cpu_seconds'] / 60:.1f} of a core's time"
    return f"{table(METHODS, rows)}\n\n{said} {measured_on(found)}. {missed(found)}".rstrip()


def _method_cells(one: dict[str, Any]) -> list[str]:
    change = ["", ""]
    if one["change"]:
        middle, low, high = (units.change(value) for value in one["change"])
        change = [middle, f"{low} … {high}"]
    return [units.size(one["weight_bytes"]), f"{one['perplexity']:.3f}", *change]


def models() -> str:
    """Return what `every_model` found: a row for each model, the change of its perplexity by each method."""
    found = json.loads((RESULTS / "every_model.json").read_text())
    measured = sorted(found["models"].items(), key=lambda one: one[0] != "main")
    names = list(dict.fromkeys(name for _, one in measured for name in one["methods"]))
    rows = [[model, f"{one['perplexity']:.3f}", *_changes(one["methods"], names)] for model, one in measured]
    return f"{table(['model', 'full', *names], rows)}\n\n{measured_on(found).strip('()')}."


def _changes(methods: dict[str, Any], names: list[str]) -> list[str]:
    """Return the changes; one that is not shown is in parentheses."""
    shown = [(units.change(methods[name]["change"][0]), methods[name]["shown"]) for name in names]
    return [change if is_shown else f"({change})" for change, is_shown in shown]


if __name__ == "__main__":
    print({"peers": peers, "methods": methods, "models": models}[sys.argv[1]]())
