"""Handlers for the page: the live stream, boards, ranges, filters and marks.

A viewer's choice is in the query string, the same as in the page's address:
`?model=main&engine=host:port&class=interactive&tenant=a&by=engine&window=10`; a filter can appear several times.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from aiohttp import web
from multidict import MultiMapping
from pydantic import ValidationError

from llm_monitor.boards.catalog import BOARDS, board
from llm_monitor.boards.check import histogram_of
from llm_monitor.boards.metrics import Exported
from llm_monitor.boards.panel import FILTERS, SCOPES, Board, Choice, Panel
from llm_monitor.series.selection import Matcher
from llm_monitor.web.annotations import Annotation, Annotations, marks
from llm_monitor.web.api import BadData, json_response
from llm_monitor.web.live import MAX_VIEWS, PATIENCE, Hub, block
from llm_monitor.web.queries import Queries, steps
from llm_monitor.web.view import View

WINDOWS = (1.0, 3600.0)
"""Shortest and longest window of rates, in seconds."""
MAX_CHOSEN = 100
"""Most values of one filter."""
FILTER_SECONDS = 60.0
RANGE_POINTS = 600
FILTER_METRICS = {
    "engines": "vllm:num_requests_running",
    "classes": "gateway_queue_depth",
    "tenants": "gateway_tenant_requests_total",
}


class Pages:
    """The handlers of /live and /api."""

    def __init__(
        self,
        queries: Queries,
        hub: Hub,
        annotations: Annotations,
        known: Mapping[str, Exported],
        *,
        interval: float,
        live_seconds: float,
        dropped: Callable[[], None],
    ) -> None:
        """`live_seconds` is the longest range of a stream; `dropped` is called for each stream that is cut off."""
        self._queries = queries
        self._hub = hub
        self._annotations = annotations
        self._boards = {
            "interval": interval,
            "live": live_seconds,
            "boards": [describe(one, known) for one in BOARDS],
        }
        self._live_seconds = live_seconds
        self._dropped = dropped

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/live", self._live)
        app.router.add_get("/api/boards", self._show_boards)
        app.router.add_get("/api/range", self._range)
        app.router.add_get("/api/filters", self._filters)
        app.router.add_get("/api/annotations", self._marks)
        app.router.add_post("/api/annotations", self._annotate)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """Handle GET /live?board=…: the stream of `web.live`."""
        view = view_of(request.query)
        if not self._hub.has_room(view):
            return json_response({"error": f"{MAX_VIEWS} different views are watched already"}, status=503)
        span = min(self._live_seconds, max(1.0, _number(request.query, "span", 300.0)))
        text = request.headers.get("Last-Event-ID") or request.query.get("since", "")
        since = int(text) / 1000 if text.isdigit() and len(text) < 16 else None
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        stream = self._hub.follow(view, since=since, span=span)
        try:
            async for message in stream:
                async with asyncio.timeout(PATIENCE):
                    await response.write(message)
        except TimeoutError:
            self._dropped()
            if request.transport is not None:
                request.transport.abort()
        finally:
            await stream.aclose()
        return response

    async def _show_boards(self, _: web.Request) -> web.Response:
        return json_response(self._boards)

    async def _range(self, request: web.Request) -> web.Response:
        """Handle GET /api/range?board=…&start=…&end=…: the columns of a board over any range."""
        start, end = _number(request.query, "start"), _number(request.query, "end")
        if not start < end:
            raise BadData("start must be before end")
        step = max(0.25, _number(request.query, "step", (end - start) / RANGE_POINTS))
        view = view_of(request.query)
        window = self._queries.window(start, step, view.choice.window)
        view = View(view.board, replace(view.choice, window=window))
        expressions = [text for _, _, text in view.expressions]
        results = await self._queries.ranges(expressions, start, end, step)
        times = steps(start, end, step)
        values = view.put(results, len(times))
        return json_response(block(view, times, values) | {"step": step, "window": window})

    async def _filters(self, _: web.Request) -> web.Response:
        """Handle GET /api/filters: the values that each filter can have now."""
        end = self._queries.clock()
        found: dict[str, set[str]] = {name: set() for name in FILTERS}
        for scope, metric in FILTER_METRICS.items():
            chosen = self._queries.head.select([Matcher("__name__", "=", metric)], end - FILTER_SECONDS, end)
            for labels in (dict(series.labels) for series in chosen):
                for name, label in SCOPES[scope].items():
                    found[name].update(filter(None, [labels.get(label)]))
        return json_response({name: sorted(values) for name, values in found.items()})

    async def _marks(self, request: web.Request) -> web.Response:
        start, end = _number(request.query, "start"), _number(request.query, "end")
        return json_response(await marks(self._annotations, self._queries, start, end))

    async def _annotate(self, request: web.Request) -> web.Response:
        """Handle POST /api/annotations: {"text", "kind", "time", "instance"}; the time is now if it is left out."""
        try:
            body = await request.json()
            self._annotations.add(Annotation.model_validate({"time": self._queries.clock(), **body}))
        except (ValidationError, TypeError) as error:
            raise BadData(f"no annotation: {error}") from None
        return web.Response(status=204)


def describe(board: Board, known: Mapping[str, Exported]) -> dict[str, Any]:
    """Return a board as the page needs it."""
    sections = [
        {"title": section.title, "panels": [_panel(panel, known) for panel in section.panels]}
        for section in board.sections
    ]
    return {"key": board.key, "title": board.title, "filters": board.filters, "sections": sections}


def _panel(panel: Panel, known: Mapping[str, Exported]) -> dict[str, Any]:
    fields = ("key", "title", "unit", "shows", "source", "cannot", "kind", "needs", "limit")
    histogram = histogram_of(panel.queries[0].expression, known)
    bounds = [bound for bound in histogram.metric.buckets if bound > 0] if histogram else []
    return {name: getattr(panel, name) for name in fields} | {
        "queries": [{"name": query.name, "expression": query.expression} for query in panel.queries],
        "smallest": bounds[0] if bounds else None,
        "largest": bounds[-1] if bounds else None,
    }


def view_of(query: MultiMapping[str]) -> View:
    """Return the view that the query string asks for. Raises BadData."""
    try:
        chosen = board(query.get("board", "overview"))
    except KeyError as error:
        raise BadData(f"there is no board {error}; there are {', '.join(one.key for one in BOARDS)}") from None
    filters: dict[str, tuple[str, ...]] = {name: tuple(query.getall(name, [])[:MAX_CHOSEN]) for name in FILTERS}
    by = query.get("by", "")
    if by and by not in FILTERS:
        raise BadData(f"by is {by!r}; group by {', '.join(FILTERS)} or nothing")
    window = min(max(_number(query, "window", 10.0), WINDOWS[0]), WINDOWS[1])
    return View(chosen, Choice(filters, by, window))


def _number(query: MultiMapping[str], name: str, default: float | None = None) -> float:
    text = query.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadData(f"{name} is {text!r}; it must be a number")
    return value


TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class StaticFiles:
    """The page's files, read once: one HTML page for all boards, modules, styles."""

    def __init__(self, theme: str) -> None:
        folder = resources.files("llm_monitor.web").joinpath("static")
        self.files = {
            path.name: path.read_bytes()
            for place in (folder, folder.joinpath("vendor"))
            for path in place.iterdir()
            if path.name[path.name.rfind(".") :] in TYPES
        }
        self.files["theme.css"] = theme.encode()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/", self._page)
        for one in BOARDS:
            app.router.add_get(f"/{one.key}", self._page)
        app.router.add_get("/static/{name}", self._file)

    async def _page(self, _: web.Request) -> web.Response:
        return self._response("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        if (name := request.match_info["name"]) not in self.files:
            raise web.HTTPNotFound
        return self._response(name)

    def _response(self, name: str) -> web.Response:
        kind = TYPES[name[name.rfind(".") :]]
        headers = {"Cache-Control": "no-cache"}
        return web.Response(body=self.files[name], content_type=kind, charset="utf-8", headers=headers)
