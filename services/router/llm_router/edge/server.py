"""The edge as a whole: its parts, its start and its drain."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from llm_proxy.edge.routes import Routes
from llm_proxy.request.endpoints import QUEUED
from llm_proxy.telemetry import make_tracing
from llm_proxy.upstream.client import Upstream
from llm_router import metrics as router_metrics
from llm_router.edge.app import application
from llm_router.edge.control import Control
from llm_router.edge.listener import Listener
from llm_router.edge.pages.admin import MAX_BODY_BYTES, Admin
from llm_router.edge.pages.health import HealthPages
from llm_router.edge.pages.models import Models
from llm_router.edge.pages.status import StatusPages
from llm_router.edge.proxy.demand import Demand
from llm_router.edge.proxy.passthrough import PATHS, Passthrough
from llm_router.edge.proxy.proxy import Proxy
from llm_router.edge.proxy.queue import Queues
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import Fleet
from llm_router.fleet.watch import FleetWatch
from llm_router.metrics import RouterMetrics

LAME_DUCK_SECONDS = 3.0
"""Least time of a drain: clients with idle connections send their next request in it, and learn to go elsewhere."""
GC_THRESHOLDS = (50_000, 20, 20)
"""Python's default, every 700 objects, would run dozens of times a second; requests leave few reference cycles."""


class EdgeServer:
    """One edge. Construct it anywhere; `start` and `drain` it in the event loop that the fleet is used in.

    `control` is the way to the control plane; without one, nothing starts or stops engines.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        fleet: Fleet,
        control: Control | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self._control = control
        self._clock = clock
        self.draining = False

    async def start(self) -> None:
        """Ask all engines for their health, then listen. Raise PortTaken."""
        settings = self.settings
        self.upstream = Upstream(settings.connect_timeout, settings.silence_timeout)
        self.tracing = make_tracing("router", settings.tracing)
        self.queues = Queues(
            self.fleet,
            clock=self._clock,
            patience=settings.queue_timeout,
            stranded_after=settings.unavailable_timeout if self._control is None else None,
            on_wait=self._waits,
        )
        self.metrics = RouterMetrics(self.fleet, self.queues.depth)
        if settings.tracing.otlp_endpoint:
            self.metrics.observe_spans(self.tracing.counts)
        self._demand = None if self._control is None else Demand(self._control, self.fleet, self.queues.depth)
        self.proxy = Proxy(
            settings,
            self.fleet,
            self.queues,
            upstream=self.upstream,
            tracing=self.tracing,
            metrics=self.metrics,
            clock=self._clock,
        )
        self.watch = FleetWatch(self.fleet, self.upstream, settings.watch, clock=self._clock)
        self._make_listeners()
        await self.watch.start()
        if self._demand is not None:
            await self._demand.start()
        try:
            for listener in self._listeners:
                await listener.start()
        except OSError:
            await self.stop()
            raise
        _collect_rarely()

    @property
    def url(self) -> str:
        return self._public.url

    @property
    def admin_url(self) -> str | None:
        return None if self._admin is None else self._admin.url

    async def drain(self) -> None:
        """Stop listening, serve the clients that are connected until they are idle, then stop.

        Every answer from now on closes its connection. Requests in flight have `edge_drain_timeout` seconds.
        """
        self.draining = self.proxy.lame_duck = True
        for listener in self._listeners:
            await listener.stop_listening()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.edge_drain_timeout):
                await asyncio.sleep(min(LAME_DUCK_SECONDS, self.settings.edge_drain_timeout))
                await self.proxy.idle()
        await self.stop()

    async def stop(self) -> None:
        """Close all connections at once."""
        for listener in self._listeners:
            await listener.close()
        if self._demand is not None:
            await self._demand.stop()
        await self.watch.stop()
        await asyncio.to_thread(self.tracing.close)
        await self.upstream.close()

    def _waits(self, model: str) -> None:
        if self._demand is not None:
            self._demand.waits(model)

    def _make_listeners(self) -> None:
        settings = self.settings
        status = StatusPages(self.fleet, self._control, depth=self.queues.depth, requests=self._requests)
        pages, admin = self._pages(status), Admin(self._control, status.forget)
        self._public = Listener(
            application(self._public_routes() | pages, max_body_bytes=settings.max_body_bytes),
            settings.host,
            settings.port,
            connections=settings.connections,
            share=settings.reuse_port,
        )
        self._admin: Listener | None = None
        if settings.admin_port is not None:
            changes: Routes = {("POST", "/-/deploy"): admin.deploy, ("POST", "/-/scale"): admin.scale}
            self._admin = Listener(
                application({**pages, **changes}, max_body_bytes=MAX_BODY_BYTES),
                settings.admin_host,
                settings.admin_port,
                connections=settings.connections,
                share=settings.reuse_port,
            )
        self._listeners = [one for one in (self._admin, self._public) if one is not None]

    def _public_routes(self) -> dict[tuple[str, str], Any]:
        models = Models(self.fleet, self.upstream)
        passthrough = Passthrough(self.settings, self.fleet, self.upstream)
        return {
            **{("POST", path): self.proxy.generate for path in QUEUED},
            **{(method, path): passthrough.forward for path, method in PATHS.items()},
            ("GET", "/v1/models"): models.list_all,
            ("GET", "/v1/models/{id:.+}"): models.show,
        }

    def _pages(self, status: StatusPages) -> dict[tuple[str, str], Any]:
        health = HealthPages(self.fleet, status, lambda: self.draining)
        return {
            ("GET", "/health"): health.health,
            ("GET", "/ready"): health.ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/-/healthz"): health.healthz,
            ("GET", "/-/routes"): health.routes,
            ("GET", "/-/targets"): status.targets,
            ("GET", "/-/status"): status.show,
            ("GET", "/-/"): status.page,
        }

    def _requests(self) -> dict[str, Any]:
        return {"open": self.proxy.open, "draining": self.draining, "outcomes": self.metrics.outcomes}

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"content-type": router_metrics.CONTENT_TYPE})


def _collect_rarely() -> None:
    """Exempt the objects that exist now from garbage collection: they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
