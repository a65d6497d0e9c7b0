"""Cross-origin requests from web pages. They are refused unless `cors.origins` names the page's origin.

A preflight (OPTIONS with Access-Control-Request-Method) is answered here and needs no key, as browsers send none with
it. Every other answer to an allowed origin has the headers that let the page read it, streams and errors included.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, field_validator

from llm_contract import headers

ANY = "*"
MAX_AGE_SECONDS = 600
EXPOSED = (headers.REQUEST_ID, headers.PRIORITY, headers.QUEUE_WAIT_MS, headers.ENGINE, headers.RETRY_AFTER)
ALLOWED = (
    *("authorization", "content-type", headers.PRIORITY, headers.SLO_TTFT_MS, headers.SLO_TPOT_MS, headers.DEADLINE_MS),
    *(headers.TENANT, headers.SESSION, headers.REQUEST_ID, headers.TRACEPARENT),
)


class CorsSettings(BaseModel):
    """Access for web pages of other origins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: tuple[str, ...] = Field(
        (), description="origins whose pages can send requests, as https://host[:port]; * allows all"
    )

    @field_validator("origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            split = urlsplit(origin)
            if origin != ANY and (not split.netloc or origin.lower() != f"{split.scheme}://{split.netloc}".lower()):
                raise ValueError(f"{origin!r} is not an origin; write it as https://example.org")
        return tuple(origin.lower() for origin in origins)


class Cors:
    """The CORS headers of answers, and the answers to preflights."""

    def __init__(self, settings: CorsSettings) -> None:
        self._origins = frozenset(settings.origins)

    def install(self, app: web.Application) -> None:
        """Add the headers to every response of `app`. Install nothing if no origin is allowed."""
        if self._origins:
            app.on_response_prepare.append(self._prepare)

    def preflight(self, request: web.Request) -> web.Response | None:
        """Return the answer to a preflight from an allowed origin, None for any other request."""
        asks = "access-control-request-method" in request.headers
        if request.method != "OPTIONS" or not asks or not self._allowed(request.headers):
            return None
        allowed = {
            "access-control-allow-methods": "GET, HEAD, POST",
            "access-control-allow-headers": ", ".join(ALLOWED),
            "access-control-max-age": str(MAX_AGE_SECONDS),
        }
        return web.Response(status=204, headers=allowed)

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["vary"] = "origin"
        if origin := self._allowed(request.headers):
            response.headers["access-control-allow-origin"] = origin
            response.headers["access-control-expose-headers"] = ", ".join(EXPOSED)

    def _allowed(self, request_headers: Mapping[str, str]) -> str | None:
        origin = request_headers.get("origin")
        if origin is None:
            return None
        if ANY in self._origins:
            return ANY
        return origin if origin.lower() in self._origins else None
