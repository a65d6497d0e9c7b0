"""The roofline of a bench run: each kernel's rate over its arithmetic intensity, under the measured ceilings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from llm_kernels import workloads
from llm_kernels.bench.ceilings import Ceilings
from llm_report import svg

WIDTH, HEIGHT, LEFT, BOTTOM = 860, 480, 70, 50
STYLE = """
text { font: 11px sans-serif } .title { font-size: 14px } .tick { fill: #666 }
.roof { fill: none; stroke: #333; stroke-width: 2 } .kernel { fill: #0a7 }
"""


def measured_roofline(rows: Iterable[Mapping[str, Any]], limits: Ceilings) -> str:
    """Return the SVG for the bench's JSON rows: our kernels with a known number of operations."""
    costs = {(w.op, w.label): w.cost for w in workloads.large()}
    points = []
    for row in rows:
        cost = costs.get((row["op"], row["shape"]))
        if cost and cost.flops and row["seconds"] and row["implementation"] in ("cuda", "triton"):
            label = f"{row['op']} {row['implementation']}"
            points.append((label, cost.flops / cost.bytes, cost.flops / row["seconds"]))
    return roofline(points, limits.copy_bytes_per_second, limits.flops_per_second["bf16"])


def roofline(points: Iterable[tuple[str, float, float]], bandwidth: float, peak: float) -> str:
    """Return the SVG. `points`: (label, FLOP per byte, FLOP/s); the roof is min(bandwidth * intensity, peak)."""
    kept = [(label, x, y) for label, x, y in points if x > 0 and y > 0]
    x_low, x_high = min([0.1, *(x for _, x, _ in kept)]) / 2, max([1e4, *(x for _, x, _ in kept)]) * 2
    y_low, y_high = min([bandwidth * 0.05, *(y for _, _, y in kept)]) / 2, peak * 2
    x = svg.Scale(x_low, x_high, LEFT, WIDTH - 20, log=True)
    y = svg.Scale(y_low, y_high, HEIGHT - BOTTOM, 30, log=True)
    foot = max(x_low, y_low / bandwidth)
    roof = [(x(foot), y(bandwidth * foot)), (x(peak / bandwidth), y(peak)), (x(x_high), y(peak))]
    parts = [
        svg.text((LEFT, 18), "Measured roofline", "title"),
        svg.polyline(roof, "roof"),
        svg.text((WIDTH / 2, HEIGHT - 12), "FLOP per byte"),
        svg.text((4, 18), "FLOP/s"),
    ]
    parts += [svg.text((x(tick), y(y_low) + 16), _power(tick), "tick") for tick in x.ticks()]
    parts += [svg.text((LEFT - 36, y(tick)), _power(tick), "tick") for tick in y.ticks()]
    for label, intensity, rate in kept:
        at = x(intensity), y(rate)
        parts += [svg.circle(at, 4, "kernel"), svg.text((at[0] + 6, at[1] + 4), label)]
    return svg.standalone(WIDTH, HEIGHT, "Measured roofline of the kernels", parts, style=STYLE)


def _power(value: float) -> str:
    return f"1e{round(math.log10(value))}"
