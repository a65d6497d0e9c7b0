"""Markdown tables of the results, for the README. `./lab pages` inserts them.

python services/gateway/benchmarks/tables.py overhead
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_measure.results import measured_on, missed
from llm_report.markdown import table

RESULTS = Path(__file__).resolve().parent / "results"
Found = dict[str, Any]
CLASSES = ("interactive", "standard", "batch")


def overhead(found: Found) -> str:
    names = {
        "engine": "no proxy: the engine alone",
        "aiohttp": "a bare aiohttp pass-through",
        "gateway": "**this gateway**",
        "litellm": f"LiteLLM {found['litellm_version']}",
    }
    servers = {**found["servers"], "litellm": max(found["litellm"], key=lambda one: one["many"]["per_second"])}
    gateway, half = servers["gateway"]["many"]["per_second"], found["half_rate"]
    rows = []
    for name, label in names.items():
        server = servers[name]
        rate = server["many"]["per_second"]
        rows.append(
            (
                label,
                f"{rate:,.0f}",
                f"{gateway / rate:.2g}×",
                _ms(server["one"]["p50_ms"]),
                " / ".join(_ms(half[name][key]) for key in ("p50_ms", "p99_ms")) if name in half else "",
                f"{server['resident_mib']:.0f} MiB",
            )
        )
    heads = ("", "requests/s", "gateway's ratio", "P50, one connection", "P50 / P99 at half rate", "memory")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


def streams(found: Found) -> str:
    rows = []
    for count, case in found["streams"].items():
        for label, one in (("the engine alone", case["direct"]), ("**through the gateway**", case["gateway"])):
            used = f"{one['cpu_share']:.0%} of a core, {one['resident_mib']:.0f} MiB" if "cpu_share" in one else ""
            gaps = (_ms(one["gap"][key]) for key in ("p50_ms", "p99_ms"))
            rows.append((count, label, f"{one['events_per_second']:,.0f}", *gaps, _ms(one["delay"]["p99_ms"]), used))
    heads = ("streams", "", "tokens/s", "ITL P50", "ITL P99", "a token's delay, P99", "the gateway's")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


def memory(found: Found) -> str:
    sizes = found["resident_mib"]
    return (
        f"{found['requests']:,} requests, one in ten a stream: {sizes[0]:.0f} MiB before the first, "
        f"{sizes[len(sizes) // 5]:.0f} MiB after a fifth, {sizes[-1]:.0f} MiB after the last. {measured_on(found)}"
    )


def requeue(found: Found) -> str:
    rows = [
        (name, *(f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios))))
        for name, ratios in found["p99_of_without"].items()
    ]
    return (
        f"{table(('P99 TTFT, with ÷ without', 'median', 'least', 'most'), rows)}\n\n{missed(found)}{measured_on(found)}"
    )


def fleet(found: Found) -> str:
    rows = [
        (name, f"{case['per_second']:,.0f}", f"{case['cpu_ms_per_request']:.2f} ms")
        for name, case in found["cases"].items()
    ]
    return f"{table(('', 'requests/s', 'CPU a request'), rows)}\n\n{measured_on(found)}"


def tracing(found: Found) -> str:
    rows = [
        (name, f"{case['per_second']:,}", f"{case['cpu_us']:.0f} µs", f"{case['ratio']:.3f}", _from_to(case["range"]))
        for name, case in found["cases"].items()
    ]
    heads = ("", "requests/s", "CPU a request", "of off", "least … most")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


def priorities(found: Found) -> str:
    runs = found["runs"]
    rows = []
    for load, policy in dict.fromkeys((run["load"], run["policy"]) for run in runs):
        mine = [run for run in runs if (run["load"], run["policy"]) == (load, policy)]
        fcfs = [run for run in runs if (run["load"], run["policy"]) == (load, "fcfs")]
        pairs = list(zip(mine, fcfs, strict=True))
        ratios = [
            [one[key]["interactive"] / base[key]["interactive"] for one, base in pairs]
            for key in ("ttft_p99", "simulated_ttft_p99")
        ]
        rows.append(
            (
                f"{load:g}",
                policy,
                *(f"{statistics.median(run['ttft_p99'][name] for run in mine):.2f} s" for name in CLASSES),
                *map(_spread, ratios),
                f"{statistics.median(one['tokens'] / base['tokens'] for one, base in pairs):.3f}",
                f"{sum(run['violations'] for run in mine):g}",
            )
        )
    heads = (
        "load",
        "policy",
        *(f"{name} P99" for name in CLASSES),
        "interactive, of fcfs",
        "simulated",
        "tokens, of fcfs",
    )
    seeds = len({run["seed"] for run in runs})
    return (
        f"{table((*heads, 'bound broken'), rows)}\n\nMedians over {seeds} seeds (least … most), "
        f"{found['seconds']:g} s of arrivals each, on {found['cores']} cores."
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} … {max(values):.2f})"


def _from_to(values: Sequence[float]) -> str:
    return f"{values[0]:.3f} … {values[1]:.3f}"


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


TABLES: dict[str, Callable[[Found], str]] = {
    each.__name__: each for each in (overhead, tracing, streams, memory, requeue, fleet, priorities)
}

if __name__ == "__main__":
    (name,) = sys.argv[1:]
    print(TABLES[name](json.loads((RESULTS / f"{name}.json").read_text())))
