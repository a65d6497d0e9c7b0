"""Print the results as Markdown tables, for the README.

python quantize/benchmarks/quantize_tables.py peers
python quantize/benchmarks/quantize_tables.py methods
python quantize/benchmarks/quantize_tables.py models
python quantize/benchmarks/quantize_tables.py large
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from llm_measure.results import measured_on, missed
from llm_report import units
from llm_report.markdown import table

RESULTS = Path(__file__).with_name("results")
PEERS = ("model", "method", "program", "perplexity", "ours gains, nats/token", "CPU s", "memory MB")
NAMES = {"gptq-clip": "gptq, clip search"}
METHODS = ("method", "weights", "perplexity", "change", "95% interval")


def peers() -> str:
    """Return what `against_peers` found: means over seeds, and the cost of the cheapest."""
    rows = []
    for path in sorted(RESULTS.glob("against_peers*.json")):
        found = json.loads(path.read_text())
        model = found["model"] + ("" if found["scales"] == "float32" else ", scales as stored")
        full = [model, "none", "", f"{found['full']['perplexity']:.3f}", "", "", ""]
        rows += [full] if full not in rows else []
        for method, result in found["methods"].items():
            start = (model, NAMES.get(method, method))
            rows += [[*start, program, *_peer_cells(one)] for program, one in result["programs"].items()]
            if gain := result.get("gain_over_rounding"):
                rows.append([*start, "rounding to nearest", "", _gain(gain), "", ""])
    return table(PEERS, rows, left=3)


def _peer_cells(one: dict[str, Any]) -> list[str]:
    return [
        f"{mean(one['perplexity']):.3f}",
        _gain(one["gain"]) if "gain" in one else "",
        f"{min(one['cpu_seconds']):.1f}",
        f"{min(one['peak_bytes']) / 1e6:.0f}",
    ]


def _gain(gain: dict[str, float]) -> str:
    return f"{gain['nats_per_token']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"


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


def large() -> str:
    """Return what `large_model` found on a GPU: seconds, peak memory, and the phases that take most."""
    found = json.loads((RESULTS / "large_model.json").read_text())
    rows = []
    for method, one in found["methods"].items():
        phases = list(one["phases"].items())[:3]
        longest = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in phases)
        rows.append([method, f"{one['seconds']:.0f} s", units.size(one["peak_bytes"]), longest])
    shape = f"{found['layers']} layers of {found['hidden']}, {found['samples']} x {found['length']} tokens"
    header = ("method", "time", "peak memory", "where it goes")
    return f"{table(header, rows)}\n\n{shape}, {found['card']}, {found['date']}."


if __name__ == "__main__":
    print({"peers": peers, "methods": methods, "models": models, "large": large}[sys.argv[1]]())
