"""Markdown of what the benchmarks found, for the pages: `./lab pages` puts it there.

python services/engine/benchmarks/figures.py speculation
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
Found = dict[str, Any]


def main() -> int:
    name = sys.argv[1]
    print(PAGES[name](json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))))
    return 0


def cpu_against_transformers(found: Found) -> str:
    ways = ("transformers_1_thread", "transformers_2_threads", "engine")
    rows = [(batch, way, *_rate(found[batch][way])) for batch in ("batch_1", "batch_16") for way in ways]
    return f"{_table(('', 'way', *RATE), rows)}\n\n{_on(found)}"


def cpu_linears(found: Found) -> str:
    rows = [(batch, way, *_rate(found[batch][way])) for batch in ("batch_1", "batch_16") for way in found[batch]]
    return f"{_table(('', 'layout', *RATE), rows)}\n\n{_on(found)}"


def cpu_profile(found: Found) -> str:
    rows = []
    for batch in ("batch_1", "batch_16"):
        figures = found[batch]
        shown = {**figures["by_function"], "other torch": figures["other_torch"], "Python": figures["python"]}
        rows += [(batch, name, milliseconds) for name, milliseconds in shown.items()]
        rows.append((batch, "**together**", f"**{figures['milliseconds_per_step']}**"))
    return f"{_table(('', 'function', 'ms a step'), rows)}\n\n{_on(found)}"


def speculation(found: Found) -> str:
    rows = []
    for temperature in ("temperature_0", "temperature_1"):
        for way, figures in found[temperature].items():
            rows.append((temperature, way, *_rate(figures), figures.get("tokens_per_verification", "")))
    return f"{_table(('', 'way', *RATE, 'tokens a verification'), rows)}\n\n{_on(found)}"


def preemption(found: Found) -> str:
    ways = [(way, *_rate(item), item["preemptions_per_run"]) for way, item in _contenders(found)]
    return f"{_table(('way', *RATE, 'preemptions'), ways)}\n\n{_on(found)}"


def continuous_batching(found: Found) -> str:
    ways = [(way, *_rate(item)) for way, item in _contenders(found)]
    beside = found["continuous"]["ratio_to_static_same_size"]
    return f"{_table(('way', *RATE), ways)}\n\nBeside static batches of the same size: {beside:.3g}×. {_on(found)}"


def prefix_caching(found: Found) -> str:
    rows = []
    for way, item in _contenders(found):
        low, high = item["range"]
        seconds = f"{item['median_ttft_seconds'] * 1e3:.1f} ms"
        rows.append(
            (way, seconds, f"{low * 1e3:.1f}-{high * 1e3:.1f}", f"{item['ratio_to_off']:.2g}×", item["hit_rate"])
        )
    return f"{_table(('cache', 'median TTFT', 'range, ms', 'ratio', 'hit rate'), rows)}\n\n{_on(found)}"


def leaks(found: Found) -> str:
    rows = []
    for way, item in found.items():
        if isinstance(item, dict):
            resident = item["resident_mib"]
            rows.append(
                (
                    way,
                    item["aborts"],
                    item["preemptions"],
                    item["all_blocks_back"],
                    f"{resident[0]} -> {resident[-1]} MiB",
                )
            )
    requests = f"{found['requests']:,} requests"
    return f"{_table((requests, 'aborts', 'preemptions', 'all blocks back', 'resident set'), rows)}\n\n{_on(found)}"


PAGES: dict[str, Callable[[Found], str]] = {
    "continuous_batching": continuous_batching,
    "cpu_linears": cpu_linears,
    "cpu_profile": cpu_profile,
    "cpu_against_transformers": cpu_against_transformers,
    "leaks": leaks,
    "preemption": preemption,
    "prefix_caching": prefix_caching,
    "speculation": speculation,
}
RATE = ("tokens/s", "range", "ratio")


def _contenders(found: Found) -> Iterable[tuple[str, Found]]:
    return ((name, item) for name, item in found.items() if isinstance(item, dict))


def _rate(figures: Found) -> tuple[str, str, str]:
    ratio = next(value for key, value in figures.items() if key.startswith("ratio_to_"))
    low, high = figures["range"]
    return f"{figures['output_tokens_per_second']:,.0f}", f"{low:,.0f}-{high:,.0f}", f"{ratio:.3g}×"


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _on(found: Found) -> str:
    busy = found["cores_busy_with_others"]
    return f"Measured on {found['device']}, {found['date']}, torch {found['torch']}; others kept {busy} cores busy."


if __name__ == "__main__":
    sys.exit(main())
