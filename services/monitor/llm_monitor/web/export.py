"""Samples as CSV or Parquet: `GET /api/export?query=…&start=…&end=…&step=…&format=csv`.

With a step, the evaluated series of an expression; without one, the raw samples of a selector.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from aiohttp import web

from llm_monitor.history.export import to_csv, to_parquet
from llm_monitor.promql import Vector
from llm_monitor.series.selection import Series
from llm_monitor.web.api import BadData, matchers, read_seconds, read_text, read_time
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
        query, end = read_text(form, "query"), read_time(form, "end", self._queries.clock())
        start = read_time(form, "start", end - 300)
        if step := form.get("step"):
            series = series_of(await self._queries.range(query, start, end, read_seconds(step)))
        else:
            chosen = matchers(query)
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
