"""The loss curve as a small SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from llm_report import svg

WIDTH, HEIGHT, MARGIN = 560, 240, 40
LOSSES = ("train", "validation")
STYLE = """
text { font: 12px sans-serif; fill: #52606d } path { fill: none; stroke-width: 2 } .axis { stroke: #52606d }
.train { stroke: #9aa5b1 } text.train { fill: #9aa5b1; stroke: none }
.validation { stroke: #2f6fde } text.validation { fill: #2f6fde; stroke: none }
"""


def loss_curve(curve: Sequence[dict[str, float]]) -> str:
    """Return the SVG of training and validation loss (nats per token) over steps."""
    losses = [point[name] for point in curve for name in LOSSES]
    low, high, last_step = min(losses), max(losses), max(point["step"] for point in curve)
    x = svg.Scale(0.0, last_step, MARGIN, WIDTH - MARGIN)
    y = svg.Scale(low, max(high, low + svg.SMALLEST), HEIGHT - MARGIN, MARGIN)
    parts = [
        svg.polyline([(MARGIN, MARGIN), (MARGIN, HEIGHT - MARGIN), (WIDTH - MARGIN, HEIGHT - MARGIN)], "axis"),
        svg.text((MARGIN - 6, y(high) + 4), f"{high:.2f}", anchor="end"),
        svg.text((MARGIN - 6, y(low) + 4), f"{low:.2f}", anchor="end"),
        svg.text((WIDTH - MARGIN, HEIGHT - MARGIN + 18), f"step {last_step:.0f}", anchor="end"),
        svg.text((MARGIN, MARGIN - 14), "loss, nats per token"),
    ]
    for row, name in enumerate(LOSSES):
        parts.append(svg.polyline([(x(point["step"]), y(point[name])) for point in curve], name))
        parts.append(svg.text((WIDTH - MARGIN, MARGIN + 16 * row), f"{name} {curve[-1][name]:.3f}", name, anchor="end"))
    return svg.standalone(WIDTH, HEIGHT, "Training and validation loss over steps", parts, style=STYLE)
