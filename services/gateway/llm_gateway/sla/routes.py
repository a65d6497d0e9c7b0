"""/sla, the figures as JSON, and /sla/report, the same figures as a page. Both take `?window=` in seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import PriorityClass
from llm_gateway.sla.tracker import SlaTracker

DEFAULT_WINDOW = 3600


class SlaRoutes:
    """The two handlers. They call `classes` and `weight` for each request, since a reload can change both."""

    def __init__(
        self,
        tracker: SlaTracker,
        classes: Callable[[], Iterable[PriorityClass]],
        weight: Callable[[str], float],
    ) -> None:
        self._tracker = tracker
        self._classes = classes
        self._weight = weight

    async def figures(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._figures, "application/json")

    async def report(self, request: web.Request) -> web.Response:
        return await self._answer(request, self._page, "text/html")

    async def _answer(
        self,
        request: web.Request,
        make: Callable[[sqlite3.Connection, float, tuple[PriorityClass, ...]], bytes],
        content_type: str,
    ) -> web.Response:
        seconds = window_seconds(request.query.get("window"), self._tracker.settings.keep_seconds)
        classes = tuple(self._classes())
        try:
            body = await self._tracker.ask(lambda connection: make(connection, seconds, classes))
        except sqlite3.Error as error:
            message = f"the SLA database cannot be read: {error}; other requests are served as usual"
            raise ApiError(ErrorKind.INTERNAL, message) from error
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    # Both run in the database's thread. They import NumPy and Jinja2 on first use, so a gateway without readers of its
    # report does not pay for them.

    def _figures(self, connection: sqlite3.Connection, seconds: float, classes: tuple[PriorityClass, ...]) -> bytes:
        from llm_gateway.sla.summary import summarise
        from llm_gateway.sla.window import load

        now = self._tracker.wall()
        return orjson.dumps(summarise(load(connection, now - seconds, now), classes, self._weight))

    def _page(self, connection: sqlite3.Connection, seconds: float, classes: tuple[PriorityClass, ...]) -> bytes:
        from llm_gateway.sla.report import render_page
        from llm_gateway.sla.summary import summarise
        from llm_gateway.sla.window import load

        now = self._tracker.wall()
        window = load(connection, now - seconds, now)
        return render_page(window, summarise(window, classes, self._weight)).encode()


def window_seconds(text: str | None, longest: float) -> int:
    """Return the window in seconds. Raise ApiError (400) unless it is a whole number from 60 to `longest`."""
    if text is None:
        return min(DEFAULT_WINDOW, int(longest))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 60 <= int(text) <= longest):
        message = f"window must be a whole number of seconds from 60 to {longest:.0f}; for example 3600"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param="window")
    return int(text)
