"""The loss curve as a small SVG, without a plotting library."""

from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 560, 240, 40
COLOURS = {"train": "#9aa5b1", "validation": "#2f6fde"}


def loss_curve(curve: Sequence[dict[str, float]]) -> str:
    """Training and validation loss (nats per token) over steps."""
    losses = [point[name] for point in curve for name in COLOURS]
    low, high = min(losses), max(losses)
    last_step = max(point["step"] for point in curve)

    def place(step: float, loss: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / last_step
        y = MARGIN + (HEIGHT - 2 * MARGIN) * (high - loss) / max(high - low, 1e-9)
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
        + " ".join(place(point["step"], point[name]) for point in curve)
        + '"/>\n'
        for name, colour in COLOURS.items()
    )
    legend = "".join(
        f'<text x="{WIDTH - MARGIN}" y="{MARGIN + 16 * row}" text-anchor="end" fill="{colour}">{name}'
        f" {curve[-1][name]:.3f}</text>\n"
        for row, (name, colour) in enumerate(COLOURS.items())
    )
    axis = (
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#52606d"/>\n'
        f'<text x="{MARGIN - 6}" y="{MARGIN + 4}" text-anchor="end">{high:.2f}</text>\n'
        f'<text x="{MARGIN - 6}" y="{HEIGHT - MARGIN + 4}" text-anchor="end">{low:.2f}</text>\n'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN + 18}" text-anchor="end">step {last_step:.0f}</text>\n'
        f'<text x="{MARGIN}" y="{MARGIN - 14}">loss, nats per token</text>\n'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        f' font-size="12" fill="#52606d">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{axis}{lines}{legend}'
        "</svg>\n"
    )
