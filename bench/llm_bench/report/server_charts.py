"""The server's own metrics, over the same time axis as the requests above them."""

from __future__ import annotations

from llm_bench.measure.server_metrics import ServerMetrics
from llm_bench.report.strip import Panel, Unit, make_panel
from llm_bench.results.result import Result


def panels(result: Result, span: float) -> list[Panel]:
    """Return the panels of the metrics that the server exports; none if it exports nothing."""
    server = result.server
    if server is None:
        return []
    tokens = {"tokens": _rates(server, "generation_tokens")}
    drawn: tuple[tuple[str, dict[str, list[float]], Unit], ...] = (
        ("Server: requests", _known(server, "running", "waiting"), "number"),
        ("Server: KV cache in use", _known(server, "kv_usage"), "share"),
        ("Server: output tokens per second", tokens, "number"),
    )
    return [
        make_panel(label, result.run.name, server.times, lines=lines, span=span, unit=unit)
        for label, lines, unit in drawn
        if any(any(values) for values in lines.values())
    ]


def _known(server: ServerMetrics, *names: str) -> dict[str, list[float]]:
    return {name: server.series[name] for name in names if name in server.series}


def _rates(server: ServerMetrics, name: str) -> list[float]:
    """Return a counter's growth per second up to each scrape."""
    values, times = server.series.get(name, []), server.times
    steps = [(values[n] - values[n - 1]) / (times[n] - times[n - 1]) for n in range(1, len(values))]
    return [0.0, *steps] if steps else []
