"""Print what `against_peers` found as a Markdown table: `python quantize/benchmarks/peer_table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_report.markdown import table

RESULTS = Path(__file__).with_name("results")
HEAD = ("model", "method", "program", "perplexity", "less than the peer's, nats/token", "seconds", "CPU s", "memory MB")


def main() -> None:
    rows = []
    for path in sorted(RESULTS.glob("against_peers*.json")):
        found = json.loads(path.read_text())
        rows.append([found["model"], "none", "", f"{found['full']['perplexity']:.3f}", "", "", "", ""])
        for method, result in found["methods"].items():
            rows += [_row(found["model"], method, name, result) for name in ("ours", "llmcompressor")]
    print(table(HEAD, rows, left=3))


def _row(model: str, method: str, name: str, result: dict[str, Any]) -> list[str]:
    one, difference = result[name], result["difference"]
    less = f"{-difference['nats_per_token']:+.4f} [{-difference['high']:+.4f}, {-difference['low']:+.4f}]"
    return [
        *(model, method, name, f"{one['perplexity']:.3f}", less if name == "ours" else ""),
        *(f"{one['seconds']:.1f}", f"{one['cpu_seconds']:.1f}", f"{one['peak_bytes'] / 1e6:.0f}"),
    ]


if __name__ == "__main__":
    main()
