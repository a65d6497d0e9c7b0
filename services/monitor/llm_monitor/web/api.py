"""Prometheus's HTTP API over the monitor's samples: Grafana takes the monitor as a Prometheus data source.

https://prometheus.io/docs/prometheus/latest/querying/api/: query, query_range, series, labels, label/<name>/values,
metadata, rules, alerts, targets. Requests can be GET with a query string or POST with a form.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiDict, MultiMapping

from llm_monitor.boards.metrics import Exported
from llm_monitor.promql import Vector, parse, tree
from llm_monitor.series.selection import Matcher
from llm_monitor.web.queries import Queries

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
SERIES_SECONDS = 300.0
"""Range of `series` and `labels` if the request names none."""
Rows = Callable[[], list[dict[str, Any]]]


class BadData(ValueError):
    """A parameter is missing or wrong; the message says which and what is allowed."""


class PrometheusApi:
    """The handlers of /api/v1. `targets`, `rules` and `alerts` return what those paths list."""

    def __init__(
        self, queries: Queries, known: Mapping[str, Exported], *, targets: Rows, rules: Rows, alerts: Rows
    ) -> None:
        self._queries = queries
        self._known = known
        self._lists = {"targets": targets, "rules": rules, "alerts": alerts}

    def add_routes(self, app: web.Application) -> None:
        handlers: dict[str, Callable[[MultiMapping[str], web.Request], Awaitable[Any]]] = {
            "query": self._query,
            "query_range": self._query_range,
            "series": self._series,
            "labels": self._labels,
            "label/{name}/values": self._label_values,
            "metadata": self._metadata,
            "targets": self._targets,
            "rules": self._rules,
            "alerts": self._alerts,
            "status/buildinfo": self._build,
        }
        for path, handler in handlers.items():
            for method in ("GET", "POST"):
                app.router.add_route(method, f"/api/v1/{path}", _answering(handler))

    async def _query(self, form: MultiMapping[str], _: web.Request) -> dict[str, Any]:
        at = read_time(form, "time", self._queries.clock())
        vector = await self._queries.instant(read_text(form, "query"), at)
        found = [
            {"metric": dict(labels), "value": [at, _number(values[-1])]}
            for labels, values, present in zip(vector.labels, vector.values.tolist(), vector.present, strict=True)
            if present[-1]
        ]
        return {"resultType": "vector", "result": found}

    async def _query_range(self, form: MultiMapping[str], _: web.Request) -> dict[str, Any]:
        start, end = read_time(form, "start"), read_time(form, "end")
        if end < start:
            raise BadData("end is before start")
        vector = await self._queries.range(read_text(form, "query"), start, end, read_seconds(read_text(form, "step")))
        return {"resultType": "matrix", "result": _matrix(vector)}

    async def _series(self, form: MultiMapping[str], _: web.Request) -> list[dict[str, str]]:
        return [dict(labels) for labels in await self._found(form, form.getall("match[]", []))]

    async def _labels(self, form: MultiMapping[str], _: web.Request) -> list[str]:
        found = await self._found(form, form.getall("match[]", [_EVERY]))
        return sorted({name for labels in found for name, _ in labels})

    async def _label_values(self, form: MultiMapping[str], request: web.Request) -> list[str]:
        wanted = request.match_info["name"]
        found = await self._found(form, form.getall("match[]", [_EVERY]))
        return sorted({value for labels in found for name, value in labels if name == wanted})

    async def _found(self, form: MultiMapping[str], selectors: Sequence[str]) -> list[tuple[tuple[str, str], ...]]:
        if not selectors:
            raise BadData("match[] is missing; give a selector such as match[]=up")
        end = read_time(form, "end", self._queries.clock())
        start = read_time(form, "start", end - SERIES_SECONDS)
        chosen = [matchers(text) for text in selectors]
        found = await asyncio.to_thread(lambda: [self._queries.past.select(each, start, end) for each in chosen])
        return sorted({series.labels for each in found for series in each})

    async def _metadata(self, form: MultiMapping[str], _: web.Request) -> dict[str, Any]:
        wanted = form.get("metric")
        metrics = {each.metric.name: each.metric for each in self._known.values()}
        return {
            name: [{"type": metric.kind, "help": metric.help, "unit": ""}]
            for name, metric in metrics.items()
            if wanted in (None, "", name)
        }

    async def _targets(self, _: MultiMapping[str], __: web.Request) -> dict[str, Any]:
        return {"activeTargets": self._lists["targets"](), "droppedTargets": []}

    async def _rules(self, _: MultiMapping[str], __: web.Request) -> dict[str, Any]:
        return {"groups": self._lists["rules"]()}

    async def _alerts(self, _: MultiMapping[str], __: web.Request) -> dict[str, Any]:
        return {"alerts": self._lists["alerts"]()}

    async def _build(self, _: MultiMapping[str], __: web.Request) -> dict[str, str]:
        return {"version": "2.99.0", "application": "llm-monitor"}


def matchers(text: str) -> tuple[Matcher, ...]:
    """Return the label matchers of a selector such as `up{job="engine"}`."""
    root = parse(text).root
    if not isinstance(root, tree.Selector) or root.window:
        raise BadData(f'match[] is a selector such as up{{job="engine"}}, not {text!r}')
    return root.matchers


_EVERY = '{__name__!=""}'


def _answering(handler: Callable[[MultiMapping[str], web.Request], Awaitable[Any]]) -> Any:
    """Wrap a handler in Prometheus's envelope: its data, or what was wrong with the request."""

    async def answer(request: web.Request) -> web.Response:
        form: Any = request.query
        if request.method == "POST":
            form = MultiDict(request.query)
            form.extend({name: value for name, value in (await request.post()).items() if isinstance(value, str)})
        try:
            return json_response({"status": "success", "data": await handler(form, request)})
        except (ValueError, re.error) as error:
            problem = {"status": "error", "errorType": "bad_data", "error": str(error)}
            return json_response(problem, status=400)

    return answer


def json_response(data: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, content_type="application/json")


def _matrix(vector: Vector) -> list[dict[str, Any]]:
    times = vector.times.tolist()
    rows = [
        (labels, [[at, _number(value)] for at, value, is_there in zip(times, values, present, strict=True) if is_there])
        for labels, values, present in zip(vector.labels, vector.values.tolist(), vector.present.tolist(), strict=True)
    ]
    return [{"metric": dict(labels), "values": points} for labels, points in rows if points]


def _number(value: float) -> str:
    """Format a sample's value as Prometheus does: shortest text, +Inf, -Inf."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)


def read_text(form: MultiMapping[str], name: str) -> str:
    if not (value := form.get(name, "")):
        raise BadData(f"{name} is missing")
    return value


def read_time(form: MultiMapping[str], name: str, default: float | None = None) -> float:
    """Read Unix seconds or RFC 3339."""
    if (value := form.get(name, "")) == "" and default is not None:
        return default
    try:
        found = float(value)
    except ValueError:
        try:
            found = datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise BadData(f"{name} is {value!r}; give Unix seconds or RFC 3339") from None
    if not math.isfinite(found):
        raise BadData(f"{name} is {value!r}; give Unix seconds or RFC 3339")
    return found


def read_seconds(text: str) -> float:
    """Read `15`, `0.25` or `1m30s`."""
    parts = _DURATION.findall(text)
    if parts and "".join(count + unit for count, unit in parts) == text:
        return sum(int(count) * _UNITS[unit] for count, unit in parts)
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise BadData(f"step is {text!r}; give seconds above 0 or a duration such as 15s")
    return found
