"""Markdown tables of the results, for the router's pages. `./lab pages` inserts them.

python services/router/benchmarks/router_tables.py edge_overhead
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_measure.results import measured_on, missed
from llm_measure.traffic import LOST
from llm_report.markdown import table

RESULTS = Path(__file__).resolve().parent / "results"
Found = dict[str, Any]


def edge_overhead(found: Found) -> str:
    versions = found["versions"]
    labels = {
        "direct": "no router: one engine",
        "edge": "**this router's edge**",
        "vllm-router": f"vllm-router {versions['vllm-router']} (Rust)",
        "smg": f"smg {versions['smg']} (Rust)",
        "ray serve": "Ray Serve's proxy and handle",
    }
    rows = []
    for part in ("servers", "serve"):
        direct = found[part].get("direct")
        for name, one in found[part].items():
            if part == "serve" and name == "direct":
                continue
            rows.append(
                (
                    labels[name],
                    f"{one['per_second']:,.0f}",
                    f"{one['per_second'] / direct['per_second']:.2g}×",
                    f"{one['cpu_ms_per_request']:.2f} ms",
                    f"{one['p50_ms'] - direct['p50_ms']:.2f} ms" if name != "direct" else "",
                    f"{one['tokens_per_second'] / direct['tokens_per_second']:.2g}×",
                    f"{one['itl_p99_ms']:.0f} ms",
                    f"{one['resident_mib']:.0f} MiB",
                )
            )
    heads = ("", "requests/s", "of direct", "CPU a request", "added P50", "streams, of direct", "ITL P99", "memory")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


def utilisation(found: Found) -> str:
    rows = [
        (name, f"{found['worst'][name]:.1%}", " ".join(f"{each:.1%}" for each in found["runs"][0][name]))
        for name in ("busy", "slots", "efficiency")
    ]
    spread = f"The busiest engine gave {found['most_of_least']:.2f} times the tokens of the least busy. "
    return f"{table(('', 'worst engine', 'engines of one run'), rows)}\n\n{spread}{missed(found)}{measured_on(found)}"


def utilisation_gpus(found: Found) -> str:
    rows = []
    for count, run in found["runs"].items():
        used = " and ".join(f"{each:.0%}" for each in run["utilised"])
        rows.append((count, f"{sum(run['tokens_per_second']):,.0f}", used))
    shown = table(("GPUs", "tokens/s", "a kernel ran"), rows)
    return f"{shown}\n\n{missed(found)}({found['card']}, {found['machine']['cores']} cores, {found['date']})"


def footprint(found: Found) -> str:
    kinds = list(dict.fromkeys(kind for run in found["runs"] for kind in run["memory_mib"]))
    rows = [
        (kind, f"{statistics.median(run['memory_mib'].get(kind, 0.0) for run in found['runs']):.0f} MiB")
        for kind in kinds
    ]
    said = (
        f"The first answer came after {found['first_answer']:.0f} s. With {found['engines']} engines the router needs "
        f"{found['memory_mib']:.0f} MiB besides them. "
    )
    return f"{table(('processes', 'memory'), rows)}\n\n{said}{missed(found)}{measured_on(found)}"


def prefix(found: Found) -> str:
    def cells(name: str, runs: list[Found]) -> tuple[str, ...]:
        hits, load, rate = (_median(runs, key) for key in ("hit_rate", "max_of_mean", "tokens_per_second"))
        return name, f"{hits:.0%}", f"{load:.2f}", f"{rate:,.0f}"

    heads = ("policy", "cache hits", "busiest of mean", "tokens/s")
    shared = [cells(name, runs) for name, runs in found["shared"].items()]
    free = [cells(name, runs) for name, runs in found["free"].items()]
    tables = f"{table(heads, shared)}\n\nPrompts that share nothing:\n\n{table(heads, free)}"
    return f"{tables}\n\n{missed(found)}{measured_on(found)}"


def failures(found: Found) -> str:
    rows = []
    for kind, case in found["cases"].items():
        out, back = (case[name] for name in ("out_of_rotation", "full_capacity"))
        rows.append(
            (
                kind,
                f"{case['times']}",
                f"{case['answers']:,}",
                " / ".join(f"{count}" for count in case["lost"].values()),
                _spread(out, 1e3, "ms") if out else "",
                _spread(back, 1, "s") if back else "",
            )
        )
    heads = ("killed", "times", "answers", "lost / unfinished / wrong", "out of rotation", "full capacity again")
    others = [f"{kind} {measured_on({**found, **case})}" for kind, case in found["cases"].items() if "machine" in case]
    elsewhere = f", but {', '.join(others)}" if others else ""
    return f"{table(heads, rows)}\n\nMedian (longest). {missed(found)}{measured_on(found)}{elsewhere}"


def chaos(found: Found) -> str:
    load, memory = found["load"], found["memory_mib"]
    blows = ", ".join(f"{count} × {kind}" for kind, count in sorted(found["blows"].items()))
    lost = sum(load[name] for name in LOST)
    return (
        f"{found['minutes']:g} minutes, {blows}: {lost} of {load['unary']:,} requests and {load['streams']:,} streams "
        f"lost. The longest repair took {found['longest_repair']:.1f} s. Without engines the router had "
        f"{memory[0]:.0f} MiB at first and {memory[-1]:.0f} MiB at the end; {len(found['left'])} processes were left. "
        f"{missed(found)}{measured_on(found)}"
    )


def rollout(found: Found) -> str:
    rows = []
    for kind, seconds in found["seconds"].items():
        runs = [run for run in found["runs"] if run["kind"] == kind]
        answers = sum(run["load"]["unary"] + run["load"]["streams"] for run in runs)
        lost = sum(run["load"][name] for run in runs for name in LOST)
        live = f"{min(run['least_live'] for run in runs)} of {found['engines']}"
        rows.append((kind, runs[0]["state"].replace("_", " "), f"{seconds:.1f} s", live, f"{lost} of {answers:,}"))
    return f"{table(('rollout', 'end', 'time', 'fewest live', 'lost'), rows)}\n\n{missed(found)}{measured_on(found)}"


def scaling(found: Found) -> str:
    medians = found["medians"]
    lost = sum(run["load"][name] for run in found["steps"] for name in LOST)
    streams = sum(run["load"]["streams"] for run in found["steps"])
    targets = " → ".join(map(str, found["steps"][0]["targets"]))
    woken = statistics.median(found["wakes"])
    return (
        f"{found['streams']} streams begin at once: more engines are ordered after {medians['first_order']:.1f} s, all "
        f"are live after {medians['all_live']:.1f} s, one is left {medians['back']:.1f} s after the load. "
        f"Targets of one run: {targets}. Lost: {lost} of {streams:,} streams. "
        f"From zero, the request that woke the engine has its answer after {woken:.1f} s. "
        f"{missed(found)}{measured_on(found)}"
    )


def _median(runs: list[Found], name: str) -> float:
    return float(statistics.median(run[name] for run in runs))


def _spread(values: Sequence[float], scale: float, unit: str) -> str:
    median, longest = (scale * value for value in (statistics.median(values), max(values)))
    return f"{_number(median)} ({_number(longest)}) {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


TABLES: dict[str, Callable[[Found], str]] = {
    each.__name__: each
    for each in (edge_overhead, footprint, utilisation, utilisation_gpus, prefix, failures, chaos, rollout, scaling)
}

if __name__ == "__main__":
    (name,) = sys.argv[1:]
    print(TABLES[name](json.loads((RESULTS / f"{name}.json").read_text())))
