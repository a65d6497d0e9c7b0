"""Requests that take no slot and go straight to an engine that is up: tokenisation and the version.

They cost an engine almost nothing. If an engine fails, the next one gets the request.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.request import body as request_body
from llm_proxy.request.identity import request_id
from llm_proxy.upstream.client import EngineError, Upstream
from llm_router.edge.proxy.job import PASSED_ON, resolve
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import Engine, Fleet

PATHS = {"/version": "GET", "/tokenize": "POST", "/detokenize": "POST"}


class Passthrough:
    """The handler of requests that take no slot."""

    def __init__(self, settings: EdgeSettings, fleet: Fleet, upstream: Upstream) -> None:
        self._settings = settings
        self._fleet = fleet
        self._upstream = upstream

    async def forward(self, request: web.Request) -> web.Response:
        """Forward the request. Return the engine's answer. Raise ApiError if no engine answers."""
        settings = self._settings
        raw = b""
        if request.can_read_body:
            raw = await request_body.read(request, settings.max_body_bytes, settings.connections.body_timeout)
        tried: list[str] = []
        engines = self._engines(raw)
        for engine in sorted((one for one in engines if one.is_up), key=lambda one: one.load)[: settings.max_attempts]:
            try:
                return await self._ask(request, engine, raw)
            except EngineError as error:
                tried.append(str(error))
                if error.refused:
                    self._fleet.eject(engine, "connect", error.reason)
        why = "; ".join(tried) or self._fleet.why_down(engines) or "there is no engine"
        raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, f"no engine answered: {why}", retry_after=1.0)

    def _engines(self, raw: bytes) -> list[Engine]:
        """Return the engines of the body's model, all engines without a body."""
        if not raw:
            return self._fleet.engines()
        body: dict[str, Any] = request_body.parse(raw)
        return self._fleet.engines(resolve(self._fleet, body.get("model")).name)

    async def _ask(self, request: web.Request, engine: Engine, raw: bytes) -> web.Response:
        sent = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        sent["content-type"] = "application/json"
        source = await self._upstream.send(engine, request.method, request.path, sent, body=raw)
        try:
            payload = await self._upstream.read(engine, source)
        finally:
            source.close()
        found = {
            "content-type": source.headers.get("content-type", "application/json"),
            headers.REQUEST_ID: request_id(request.headers),
            headers.ENGINE: engine.shown,
        }
        return web.Response(body=payload, status=source.status, headers=found)
