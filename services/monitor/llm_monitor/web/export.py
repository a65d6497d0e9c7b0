"""Samples as CSV or Parquet: `GET /api/export?query=…&start=…&end=…&step=…&format=csv`.

With a step, the evaluated series of an expression; without one, the raw samples of a selector. With `board`, `panel`
and the page's filters instead of a query, what the panel shows.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from aiohttp import web
from multidict import MultiMapping

from llm_monitor.history.export import to_csv, to_parquet
from llm_monitor.promql import Vector
from llm_monitor.series.selection import NAME, Series, labels_of
from llm_monitor.web.api import BadData, matchers, read_seconds, read_text, read_time
from llm_monitor.web.pages import RANGE_POINTS, view_of
from llm_monitor.web.queries import Queries

MAX_SAMPLES = 5_000_000
PARQUET = "application/vnd.apache.parquet"


class ExportPages:
    """The handler of /api/export."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/api/export", self._export)

    async def _export(self, request: web.Request) -> web.StreamResponse:
        form = request.query
        kind = form.get("format", "csv")
        if kind not in ("csv", "parquet"):
            raise BadData(f"format is {kind!r}; it can be csv or parquet")
        end = read_time(form, "end", self._queries.clock())
        start = read_time(form, "start", end - 300)
        if "panel" in form:
            series = await self._panel(form, start, end)
        elif step := form.get("step"):
            series = series_of(await self._queries.range(read_text(form, "query"), start, end, read_seconds(step)))
        else:
            chosen = matchers(read_text(form, "query"))
            series = await asyncio.to_thread(self._queries.past.select, chosen, start, end)
        if sum(len(one.times) for one in series) > MAX_SAMPLES:
            raise BadData(f"the range has more than {MAX_SAMPLES} samples; take fewer series, less time, or a step")
        if kind == "parquet":
            return await _parquet(series)
        response = web.StreamResponse(headers=_headers("csv", "text/csv; charset=utf-8"))
        await response.prepare(request)
        for part in to_csv(series):
            await response.write(part.encode())
        return response

    async def _panel(self, form: MultiMapping[str], start: float, end: float) -> list[Series]:
        """Return the series of a panel. The label `query` names the query, where the panel has several."""
        view, key = view_of(form), read_text(form, "panel")
        names = {panel.key: [query.name for query in panel.queries] for panel in view.board.panels}
        if key not in names:
            raise BadData(f"the board {view.board.key} has no panel {key!r}")
        step = max(0.25, (end - start) / RANGE_POINTS)
        found: list[Series] = []
        for number, text in ((number, text) for panel, number, text in view.expressions if panel == key):
            for one in series_of(await self._queries.range(text, start, end, step)):
                labels = labels_of({NAME: key, **dict(one.labels), "query": names[key][number]})
                found.append(Series(labels, one.times, one.values))
        return found


def series_of(vector: Vector) -> list[Series]:
    """Return an evaluated range as series, with the samples that are there."""
    rows = zip(vector.labels, vector.values, vector.present, strict=True)
    return [Series(labels, vector.times[present], np.asarray(values[present])) for labels, values, present in rows]


async def _parquet(series: Sequence[Series]) -> web.Response:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.parquet"
        await asyncio.to_thread(to_parquet, series, path)
        return web.Response(body=path.read_bytes(), headers=_headers("parquet", PARQUET))


def _headers(ending: str, kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "Content-Disposition": f'attachment; filename="monitor.{ending}"'}
