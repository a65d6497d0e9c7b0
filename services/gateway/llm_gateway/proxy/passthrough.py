"""Requests that bypass the queue and go straight to an engine that is up: tokenisation and the version.

They cost an engine almost nothing and take no slot. If an engine fails, the next one gets the request.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.models import Models
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.request.exchange import Exchange
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.tenants import TenantTable
from llm_proxy.request import body as request_body
from llm_proxy.request.identity import request_id
from llm_proxy.request.json_fields import edit
from llm_proxy.upstream.client import EngineError, Upstream


class Passthrough:
    """The handler of requests that bypass the queue."""

    def __init__(
        self,
        settings: GatewaySettings,
        tenants: TenantTable,
        models: Models,
        *,
        pool: EnginePool,
        upstream: Upstream,
        metrics: GatewayMetrics,
    ) -> None:
        self._settings = settings
        self._tenants = tenants
        self._models = models
        self._pool = pool
        self._upstream = upstream
        self._metrics = metrics

    async def forward(self, request: web.Request) -> web.Response:
        """Forward the request. Return the engine's answer. Raise ApiError if no engine answers or a key is missing."""
        exchange = Exchange(
            request_id=request_id(request.headers), arrived=0.0, tenant=self._tenants.authenticate(request.headers)
        )
        exchange.authorization = self._tenants.authorization_for(None, request.headers)
        limit, timeout = self._settings.max_body_bytes, self._settings.edge.body_timeout
        raw = await request_body.read(request, limit, timeout) if request.can_read_body else None
        raw, model = self._routed(raw) if raw else (raw, None)
        tried: list[str] = []
        while (engine := self._pool.choose(tried, model)) and engine.name not in tried:
            tried.append(engine.name)
            try:
                return await self._ask(request, exchange, engine, raw)
            except EngineError as error:
                self._metrics.engine_failed(engine.name, error.phase)
                if error.refused:
                    self._pool.mark_down(engine, error.reason)
        message = f"no engine answered; {self._pool.why_down(self._pool.routes.of(model))}"
        raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, message, retry_after=self._settings.probe_interval)

    def _routed(self, raw: bytes) -> tuple[bytes, str | None]:
        """Return the body with the engines' name of its model, and that name. A body without a model is unchanged."""
        try:
            body = orjson.loads(raw)
        except ValueError:
            return raw, None
        asked = body.get("model") if isinstance(body, dict) else None
        if not isinstance(asked, str):
            return raw, None
        model = self._models.resolve(asked)
        return (raw if model == asked else edit(raw, {"model": orjson.dumps(model)})), model

    async def _ask(self, request: web.Request, exchange: Exchange, engine: Engine, raw: bytes | None) -> web.Response:
        exchange.answered_by(engine)
        source = await self._upstream.send(
            engine, request.method, request.path, exchange.engine_headers(request.headers, engine), body=raw
        )
        try:
            payload = await self._upstream.read(engine, source)
        finally:
            source.close()
        kind = {"content-type": source.headers.get("content-type", "application/json")}
        return web.Response(body=payload, status=source.status, headers={**kind, **exchange.response_headers()})
