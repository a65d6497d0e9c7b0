"""Markdown of what the benchmarks here found, for the README: `./lab pages` puts it there.

python bench/benchmarks/markdown.py reproducible
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_report.markdown import table

RESULTS = Path(__file__).resolve().parents[1] / "results"
Found = dict[str, Any]


def bars(found: Found) -> str:
    rows = [
        (bar["name"], f"{bar['measured']:.4g}", f"{bar['relation']} {bar['limit']:g}", "yes" if bar["holds"] else "no")
        for bar in found["bars"]
    ]
    return f"{table(('', 'measured', 'bar', 'holds'), rows)}\n\n{_on(found)}"


def reproducible(found: Found) -> str:
    rows = [
        (
            f"`{name}`",
            f"{one['largest_deviation']:.1%}",
            f"{one['largest_deviation_by_control']:.1%}" if "largest_deviation_by_control" in one else "",
            f"±{one['half_width']:.1%}",
            _covered(one),
            _covered(found["single_runs"][name]) if name in found["single_runs"] else "",
        )
        for name, one in found["figures"].items()
    ]
    rows.append(("the control", f"{found['control']['largest_deviation']:.1%}", "", "", "", ""))
    heads = ("", "largest deviation", "÷ control", "widest interval", "it covers the others", "a single run's covers")
    return f"{table(heads, rows)}\n\n{_missed(found)}{_on(found)}"


def _covered(one: Found) -> str:
    return f"{one['covered']} of {one['pairs']}"


def _missed(found: Found) -> str:
    missed = "; ".join(f"{bar['name']}: {bar['measured']:.3g}" for bar in found["bars"] if not bar["holds"])
    return f"Bars missed here: {missed}. " if missed else ""


def client_capacity(found: Found) -> str:
    rows = [
        (f"llm-bench, {workers} {'process' if workers == '1' else 'processes'}", f"{rate:,.0f}", "every run VALID")
        for workers, rate in found["highest_valid_rate"].items()
    ]
    if peer := found["guidellm"]:
        rows += [
            (f"guidellm {peer['version']}", f"{peer['highest_rate_kept']:,.0f}", "rate and median TTFT kept"),
            ("", f"{peer['most_sent']:,.0f}", "the most it sent at all"),
        ]
    return f"{table(('', 'requests/s', ''), rows)}\n\n{_on(found)}"


def baselines(found: Found) -> str:
    rows = []
    for name, target in found["targets"].items():
        every, urgent = target["classes"]["all"], target["classes"]["interactive"]
        rows.append(
            (
                f"`{name}`",
                f"{every['output_tokens_per_second']:,.0f}",
                _seconds(every["ttft_p50"]),
                _seconds(urgent["ttft_p99"]),
                _seconds(every["tpot_p50"]),
                f"{every['slo_attainment']:.0%}",
                "VALID" if target["valid"] else f"INVALID: {'; '.join(target['reasons'])}",
            )
        )
    heads = ("target", "output tokens/s", "TTFT P50", "interactive TTFT P99", "TPOT P50", "SLO met", "verdict")
    return f"{table(heads, rows)}\n\n{found['scenario']}, {found['rate']:g} requests/s. {_on(found)}"


def _seconds(value: float) -> str:
    return f"{1e3 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def _on(found: Found) -> str:
    machine = found["machine"]
    return f"({machine['cores']} cores of {machine['cpu']}, {found['date']})"


PAGES: dict[str, Callable[[Found], str]] = {
    "reproducible": reproducible,
    "trace_replay": bars,
    "client_capacity": client_capacity,
    "baselines": baselines,
}

if __name__ == "__main__":
    (name,) = sys.argv[1:]
    print(PAGES[name](json.loads((RESULTS / f"{name}.json").read_text())))
