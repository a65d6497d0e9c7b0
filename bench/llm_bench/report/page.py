"""The HTML page: one file, nothing fetched, figures and pictures from the same results as the table.

Its template is page.html.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from llm_bench.measure.record import OK, RequestRecord
from llm_bench.measure.stats import CONFIDENCE, PERCENTILES, samples_needed
from llm_bench.measure.verdict import rates
from llm_bench.report import charts, gpu_charts, server_charts
from llm_bench.report.compare import METRICS, compare, show
from llm_bench.report.headline import headline, times
from llm_bench.report.template import fill_template
from llm_bench.results.result import Result
from llm_bench.workload.arrivals import ClosedLoop
from llm_bench.workload.recorded import TraceArrivals
from llm_report import units

SLO_REACH = 4.0
"""An SLO up to this many times the slowest sample stretches the axis; one further out would only flatten the data."""


@dataclass(frozen=True, slots=True)
class Card:
    """A class's headline: its P99 time to first token, against the first run's."""

    class_name: str
    hue: str
    value: str
    was: str
    change: str
    slo: str


def render_page(results: Sequence[Result], title: str) -> str:
    return fill_template("page.html", **_content(results, title))


def _content(results: Sequence[Result], title: str) -> dict[str, Any]:
    first = results[0]
    return {
        "title": title,
        "results": results,
        "first": first,
        "several": len(results) > 1,
        "same_load": len(results) > 1 and all(_schedule(result) == _schedule(first) for result in results),
        "headline": headline(results),
        "cards": [_card(results, name) for name in first.scenario.classes],
        "hues": {name: charts.hue(first, name) for name in first.scenario.classes},
        "metrics": METRICS,
        "rows": _rows(results),
        "show": show,
        "timelines": _timelines(results),
        "server_panels": [server_charts.panels(result, _span(results)) for result in results],
        "gpu_panels": [gpu_charts.panels(result, _span(results)) for result in results],
        "run_css": functools.partial(charts.run_css, results),
        "agreement": any(result.server and result.server.agreement for result in results),
        "tenants": list(dict.fromkeys(name for result in results for name in result.summary.tenants)),
        "queues": _queues(results),
        "ttft_curves": _curves(results, lambda record: record.ttft, "ttft"),
        "tpot_curves": _curves(results, lambda record: record.tpot, "tpot"),
        "tail": Markup(charts.tail(results)),
        "attainment": Markup(charts.attainment(results)),
        "rates": [rates(result.requests) for result in results],
        "percentiles": [f"p{p}" for p in PERCENTILES],
        "needed": samples_needed(99),
        "confidence": CONFIDENCE,
        "settings": _settings(results),
        "arrivals": _lede(first),
        "slos": {name: _slo(kind.slo.ttft, kind.slo.tpot) for name, kind in first.scenario.classes.items()},
    }


def _schedule(result: Result) -> list[tuple[float | None, str, int]]:
    """Return the schedule of first turns, which the scenario fixes. A later turn waits for the answer before it."""
    return [
        (record.scheduled_at, record.class_name, record.max_tokens)
        for record in result.requests
        if record.follows is None
    ]


def _card(results: Sequence[Result], name: str) -> Card:
    first, last = results[0].summary.classes[name], results[-1].summary.classes.get(name)
    now = last.ttft.p99 if last else None
    before = first.ttft.p99 if len(results) > 1 else None
    slo = units.share(last.slo_attainment if last else None)
    if len(results) > 1:
        slo = f"{units.share(first.slo_attainment)} → {slo}"
    return Card(
        class_name=name,
        hue=charts.hue(results[0], name),
        value=units.seconds(now),
        was=f"was {units.seconds(before)} with {results[0].run.name}" if before is not None else "",
        change=times(now / before) if now is not None and before else "",
        slo=slo,
    )


def _rows(results: Sequence[Result]) -> dict[str, list[Any]]:
    """Return the comparison rows by class."""
    rows: dict[str, list[Any]] = {}
    for row in compare(results):
        rows.setdefault(row.class_name, []).append(row)
    return rows


def _timelines(results: Sequence[Result]) -> list[Markup]:
    values = _samples(results, lambda record: record.ttft)
    slos = [kind.slo.ttft for kind in results[0].scenario.classes.values() if kind.slo.ttft is not None]
    near = [slo for slo in slos if values and slo < SLO_REACH * max(values)]
    span = _span(results)
    return [Markup(charts.timeline(result, [*values, *near], span)) for result in results]


def _span(results: Sequence[Result]) -> float:
    return max(result.scenario.duration for result in results)


def _queues(results: Sequence[Result]) -> list[Markup]:
    span = max(result.summary.seconds for result in results)
    grid = charts.queue_grid(span)
    peak = max(float(charts.waiting(result.requests, None, grid).max()) for result in results)
    return [Markup(charts.queue(result, peak, span)) for result in results]


def _curves(results: Sequence[Result], metric: Callable[[RequestRecord], float | None], slo: str) -> dict[str, Markup]:
    """Draw one panel per class with every run; all panels share their time axis."""
    values = _samples(results, metric)
    slos = [getattr(kind.slo, slo) for kind in results[0].scenario.classes.values()]
    values += [limit for limit in slos if limit is not None and values and limit < SLO_REACH * max(values)]
    panels = {}
    for name, kind in results[0].scenario.classes.items():
        drawn = [_curve(results, position, name, metric) for position in range(len(results))]
        label = f"Distribution of {slo.upper()} of {name} requests"
        panels[name] = Markup(charts.cumulative([c for c in drawn if c.total], getattr(kind.slo, slo), label, values))
    return panels


def _curve(
    results: Sequence[Result], position: int, name: str, metric: Callable[[RequestRecord], float | None]
) -> charts.CumulativeCurve:
    rows = [record for record in results[position].requests if record.class_name == name and record.sent_at is not None]
    found = [value for record in rows if record.outcome == OK and (value := metric(record)) is not None]
    measurable = sum(record.outcome != OK or metric(record) is not None for record in rows)
    return charts.CumulativeCurve(found, charts.run_css(results, name, position, ""), measurable)


def _samples(results: Iterable[Result], metric: Callable[[RequestRecord], float | None]) -> list[float]:
    values = (metric(record) for result in results for record in result.requests if record.outcome == OK)
    return [value for value in values if value is not None]


def _settings(results: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each run); a single value if the runs agree."""
    readers: dict[str, Callable[[Result], Any]] = {
        "Target": lambda r: r.run.target,
        "Model": lambda r: r.run.model,
        "Server version": lambda r: r.run.server_version or units.MISSING,
        "Scenario": lambda r: r.scenario.name,
        "Arrivals": _arrivals,
        "API key": lambda r: f"from {r.run.api_key_env}" if r.run.api_key_env else "none",
        "Seed": lambda r: r.run.seed,
        "Started": lambda r: r.run.started_at,
        "Tokenizer": lambda r: r.run.tokenizer or "none: prompt lengths estimated from characters",
        "Counted": _counted,
        "Client CPU": lambda r: f"{r.run.client_cpu:.0%} of a core",
        "Client event loop late": lambda r: units.seconds(r.run.loop_lag.p99) + " at P99",
        "Prefix cache hits": lambda r: units.share(r.server.prefix_hit_rate if r.server else None),
        "Machine": _machine,
        "GPUs of the client's machine": lambda r: gpu_charts.names(r) or "none",
        "System": lambda r: r.environment.system,
        "Load average before": lambda r: r.environment.load_average,
        "Software": lambda r: ", ".join(
            [f"Python {r.environment.python}", *(f"{name} {v}" for name, v in r.environment.packages.items())]
        ),
        "Environment fingerprint": lambda r: r.environment.fingerprint,
    }
    table = []
    for label, read in readers.items():
        values = [str(read(result)) for result in results]
        table.append((label, values[:1] if len(set(values)) == 1 else values))
    return table


def _arrivals(result: Result) -> str:
    scenario = result.scenario
    if isinstance(scenario.arrivals, ClosedLoop):
        return f"{scenario.arrivals.users} users for {scenario.duration:g} s"
    how = f" ({scenario.arrivals.file.name})" if isinstance(scenario.arrivals, TraceArrivals) else ""
    return f"{scenario.arrivals.kind}{how}, {sent_rate(result):.3g}/s for {scenario.duration:g} s"


def sent_rate(result: Result) -> float:
    """Return the planned arrivals per second, from the records, because a trace's file can be gone."""
    return sum(record.follows is None for record in result.requests) / result.scenario.duration


def _lede(result: Result) -> str:
    arrivals = result.scenario.arrivals
    if isinstance(arrivals, ClosedLoop):
        return f"{arrivals.users} users ask again when they have their answer, for {result.scenario.duration:g} s."
    named = {"on_off": "on and off", "steps": "in steps", "trace": "as recorded"}
    kind = named.get(arrivals.kind, arrivals.kind.capitalize())
    span = f"{sent_rate(result):.3g} per second for {result.scenario.duration:g} s"
    return f"Arrivals are {kind}, {span}, and do not wait for answers."


def _counted(result: Result) -> str:
    window = result.summary.window
    if window is None:
        return "every request"
    return f"requests due from {window.start:.3g} s to {min(window.end, result.scenario.duration):.4g} s"


def _machine(result: Result) -> str:
    where = result.environment
    return f"{where.cpu}, {where.cores} cores, {where.memory_bytes / 2**30:.0f} GiB"


def _slo(ttft: float | None, tpot: float | None) -> str:
    parts = [f"{label} ≤ {units.seconds(limit)}" for label, limit in (("TTFT", ttft), ("TPOT", tpot)) if limit]
    return ", ".join(parts) or "no SLO"
