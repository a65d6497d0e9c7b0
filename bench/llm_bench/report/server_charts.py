"""What the server said of itself, over the same time axis as the requests above it."""

from __future__ import annotations

from markupsafe import Markup

from llm_bench.report.strip import draw_strip
from llm_bench.results import Result
from llm_bench.server_metrics import ServerMetrics


def panels(result: Result, span: float) -> list[tuple[str, Markup]]:
    """(caption, picture) of what the server exports; none where it exports nothing."""
    server = result.server
    if server is None:
        return []
    found = []
    for label, lines, share in (
        (
            "Server: requests running and waiting",
            {key: server.series.get(key, []) for key in ("running", "waiting")},
            False,
        ),
        ("Server: KV cache in use", {"KV cache": server.series.get("kv_usage", [])}, True),
        ("Server: output tokens per second", {"tokens/s": _rates(server, "generation_tokens")}, False),
    ):
        drawn = {name: values for name, values in lines.items() if any(values)}
        if drawn:
            found.append(
                (
                    label,
                    Markup(
                        draw_strip(
                            f"{label} of {result.run.name}", server.times, drawn, span, "share" if share else "number"
                        )
                    ),
                )
            )
    return found


def _rates(server: ServerMetrics, name: str) -> list[float]:
    """Growth per second of a counter up to each scrape."""
    values, times = server.series.get(name, []), server.times
    steps = [(values[n] - values[n - 1]) / (times[n] - times[n - 1]) for n in range(1, len(values))]
    return [0.0, *steps] if steps else []
