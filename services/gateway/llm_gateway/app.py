"""The gateway as a whole: its parts, its routes, its start and its stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway import metrics as gateway_metrics
from llm_gateway.classes import ClassTable
from llm_gateway.engines import EnginePool
from llm_gateway.engines.changes import change_engines
from llm_gateway.engines.models import Models
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.operations import openapi
from llm_gateway.operations.monitoring import Monitoring
from llm_gateway.proxy.ledger import Ledger
from llm_gateway.proxy.passthrough import Passthrough
from llm_gateway.proxy.proxy import Proxy
from llm_gateway.request.admission import Admission
from llm_gateway.request.estimate import OutputEstimator, PromptEstimator
from llm_gateway.scheduling.dispatch import Dispatcher
from llm_gateway.scheduling.listener import QueueListener
from llm_gateway.scheduling.policies import make_policy
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.scheduling.wait_bound import WaitBound
from llm_gateway.settings import GatewaySettings
from llm_gateway.sla.routes import SlaRoutes
from llm_gateway.sla.tracker import SlaTracker
from llm_gateway.telemetry.queue_trace import QueueTrace
from llm_gateway.telemetry.spans import PROGRAM
from llm_gateway.tenancy.rate_limit import LocalLimiter
from llm_gateway.tenancy.tenants import TenantTable, keys_required
from llm_gateway.tenancy.usage import UsageBook
from llm_gateway.watch.health import HealthProbes
from llm_gateway.watch.progress import ProgressWatch
from llm_gateway.watch.scrape import SignalScraper
from llm_proxy.edge.cors import Cors
from llm_proxy.edge.responses import WholeResponse, json_response
from llm_proxy.edge.routes import Handler, add_routes, refuse_method
from llm_proxy.request.endpoints import QUEUED
from llm_proxy.telemetry import make_tracing
from llm_proxy.upstream.client import Upstream

D = TypeVar("D", bound=Dispatcher)

if TYPE_CHECKING:
    from llm_gateway.fleet.client import FleetClient
    from llm_gateway.fleet.limiter import RedisLimiter

log = logging.getLogger(__name__)


class Watch(Protocol):
    """A background task that runs from before the first request until after the last."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Gateway:
    """All parts of a gateway. Construct it inside a running event loop. `clock` is monotonic, in seconds."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.classes = classes = ClassTable(settings.classes, settings.default_class)
        required = keys_required(settings.host, settings.require_keys, settings.tenants)
        self.tenants = TenantTable(settings.tenants, classes, keys_required=required)
        self.usage = UsageBook()
        self.fleet: FleetClient | None = None
        self.settings = settings
        self.monitoring = Monitoring(settings, keys_required=required)
        self.metrics = GatewayMetrics()
        self.pool = self._make_pool(clock)
        policy = make_policy(
            settings.policy, classes, aging_rate=settings.aging_rate, fairness_window=settings.fairness_window
        )
        self.queue = RequestQueue(policy, classes, settings.max_queue)
        self.wait_bound = WaitBound(
            policy,
            classes,
            self.queue,
            settings.max_queue,
            rate=self.pool.rate,
            on_violation=self.metrics.wait_bound_violated,
        )
        self.metrics.observe_tenants(self.usage)
        self.metrics.observe_scheduler(self.queue, self.pool, (cls.name for cls in classes))
        self.metrics.observe_wait_bound(self.wait_bound, (cls.name for cls in classes))
        self.sla = SlaTracker(settings.sla, self.metrics)
        self.sla_routes = SlaRoutes(self.sla, lambda: self.classes, self._weight)
        self.tracing = make_tracing(PROGRAM, settings.tracing)
        self.cors = Cors(settings.cors)
        self.upstream = Upstream(settings.connect_timeout, settings.engine_silence_timeout)
        self.probes = HealthProbes(
            self.pool, self.upstream, settings.probe_interval, settings.probe_timeout, clock=clock
        )
        self.scraper = SignalScraper(self.pool, self.upstream, settings.signals_interval, clock)
        self.queue_trace = make_queue_trace(settings, clock)
        self.limiter, dispatcher = self._schedule(clock)
        self.models = Models(self.pool, self.tenants, aliases=settings.aliases, retry_after=settings.probe_interval)
        self.proxy = self._make_proxy(dispatcher, clock)
        self.progress = ProgressWatch(self.pool, settings.progress_timeout, clock, on_eject=self.proxy.fail_over)
        self.passthrough = Passthrough(
            settings, self.tenants, self.models, pool=self.pool, upstream=self.upstream, metrics=self.metrics
        )

    def _make_pool(self, clock: Callable[[], float]) -> EnginePool:
        settings = self.settings
        return EnginePool(
            settings.engines,
            limit=settings.in_flight_limit,
            kv_kappa=settings.kv_kappa,
            breaker=settings.breaker,
            balancing=settings.balancing,
            anonymous=self.monitoring.closed,
            clock=clock,
            on_added=self.metrics.expect_engine,
            on_removed=self.metrics.forget_engine,
        )

    def _schedule(self, clock: Callable[[], float]) -> tuple[LocalLimiter | RedisLimiter, Dispatcher]:
        """Return the limiter and the dispatcher, shared with a fleet if one is configured."""
        if self.settings.fleet.redis_url is None:
            return LocalLimiter(clock), self._make_dispatcher(Dispatcher, clock)
        # Imported on demand: Redis's client takes a quarter of a second to load.
        from llm_gateway.fleet.dispatch import FleetDispatcher
        from llm_gateway.fleet.limiter import RedisLimiter

        dispatcher = self._make_dispatcher(FleetDispatcher, clock)
        self.fleet = dispatcher.fleet
        self.metrics.observe_fleet(self.fleet)
        return RedisLimiter(self.settings.fleet, self.fleet, clock), dispatcher

    def _make_dispatcher(self, kind: type[D], clock: Callable[[], float]) -> D:
        return kind(
            self.settings,
            self.classes,
            self.queue,
            pool=self.pool,
            wait_bound=self.wait_bound,
            clock=clock,
            on_shed=self.metrics.shed,
            listener=self.queue_trace,
        )

    def _make_proxy(self, dispatcher: Dispatcher, clock: Callable[[], float]) -> Proxy:
        prompts, outputs = PromptEstimator(), OutputEstimator()
        admission = Admission(
            self.settings,
            self.classes,
            self.tenants,
            limiter=self.limiter,
            usage=self.usage,
            prompts=prompts,
            outputs=outputs,
            models=self.models,
            pool=self.pool,
        )
        ledger = Ledger(
            self.metrics,
            self.sla,
            self.usage,
            limiter=self.limiter,
            queue=self.queue,
            prompts=prompts,
            outputs=outputs,
            clock=clock,
        )
        return Proxy(
            self.settings,
            admission,
            dispatcher,
            pool=self.pool,
            upstream=self.upstream,
            ledger=ledger,
            tracing=self.tracing,
            metrics=self.metrics,
            clock=clock,
        )

    def app(self) -> web.Application:
        app = web.Application(client_max_size=self.settings.max_body_bytes)
        routes: dict[tuple[str, str], Handler] = {
            **{("POST", path): self.proxy.generate for path in QUEUED},
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/v1/models/{id:.+}"): self.models.show,
            ("GET", "/version"): self.passthrough.forward,
            ("POST", "/tokenize"): self.passthrough.forward,
            ("POST", "/detokenize"): self.passthrough.forward,
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/metrics"): self._guarded(self._metrics),
            ("GET", "/openapi.json"): self._openapi,
            ("GET", "/sla"): self._guarded(self.sla_routes.figures),
            ("GET", "/sla/report"): self._guarded(self.sla_routes.report),
        }
        add_routes(app, routes, method_not_allowed=self._method_not_allowed)
        self.cors.install(app)
        app.cleanup_ctx.append(self._running)
        app.on_response_prepare.append(self._say_goodbye)
        return app

    async def _say_goodbye(self, _: web.Request, response: web.StreamResponse) -> None:
        """Tell the client of a gateway that shuts down to open its next connection elsewhere."""
        if self.proxy.lame_duck:
            response.force_close()
            if not isinstance(response, WholeResponse):  # which writes the header itself
                response.headers["Connection"] = "close"

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        watches: list[Watch] = [self.sla, self.probes, self.scraper, self.progress]
        if self.fleet is not None:
            watches.append(self.fleet)
        for watch in watches:
            await watch.start()
        yield
        await self.limiter.close()
        for watch in watches:
            await watch.stop()
        await asyncio.to_thread(self.tracing.close)
        await self.upstream.close()
        self.queue_trace.close()

    def apply(self, settings: GatewaySettings) -> None:
        """Take over the settings of a reloaded configuration that `reload.LIVE` names; the others are unchanged."""
        required = keys_required(settings.host, settings.require_keys, settings.tenants)
        self.classes.replace(settings.classes, settings.default_class)
        self.tenants.replace(settings.tenants, self.classes, keys_required=required)
        self.monitoring.update(settings, keys_required=required)
        self.pool.anonymise(self.monitoring.closed)
        self.models.aliases = settings.aliases
        self.limiter.keep(frozenset(self.tenants.by_name))
        change_engines(self.pool, self.settings.engines, settings.engines)
        self.settings = settings

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.monitoring.check(request)
            return await handler(request)

        return answer

    def _weight(self, tenant: str) -> float:
        return self.tenants.by_name[tenant].weight if tenant in self.tenants.by_name else 1.0

    async def _method_not_allowed(self, request: web.Request) -> web.StreamResponse:
        if (answer := self.cors.preflight(request)) is not None:
            return answer
        return await refuse_method(request)

    async def _list_models(self, request: web.Request) -> web.Response:
        """List the known models. If no engine let the gateway read any, for want of a key, forward the request."""
        return await (self.models.list(request) if self.models.cards() else self.passthrough.forward(request))

    async def _openapi(self, _: web.Request) -> web.Response:
        names = [cls.name for cls in self.classes]
        longest = int(self.settings.sla.keep_seconds)
        required = self.tenants.keys_required
        return json_response(openapi.document(names, keys_required=required, longest_window=longest))

    async def _health(self, _: web.Request) -> web.Response:
        return json_response({"status": "alive"})

    async def _ready(self, request: web.Request) -> web.Response:
        in_detail = self.monitoring.may_see(request)
        if self.proxy.draining or self.proxy.lame_duck:
            raise ApiError(ErrorKind.DRAINING, "the gateway is shutting down")
        if not self.pool.any_up():
            why = f"; {self.pool.why_down()}" if in_detail else ""
            raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, f"no engine is available{why}")
        if not in_detail:
            return json_response({"status": "ready"})
        engines = {engine.name: "up" if engine.up else f"down: {engine.reason}" for engine in self.pool.engines}
        return json_response({"status": "ready", "engines": engines})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"content-type": gateway_metrics.CONTENT_TYPE})


def make_queue_trace(settings: GatewaySettings, clock: Callable[[], float]) -> QueueListener:
    """Return the queue trace that the settings ask for, or a listener that ignores everything."""
    return QueueListener() if settings.queue_trace is None else QueueTrace(settings.queue_trace, settings, clock)
