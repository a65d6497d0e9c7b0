"""The admin API: an application of its own, on its own port, with its own key.

    GET    /admin/engines           list all engines and their state
    POST   /admin/engines           add an engine; the body has the fields of an engine in the configuration
    DELETE /admin/engines/{name}    drain an engine and remove it
    GET    /admin/queue             count waiting requests by class
    GET    /admin/tenants           list limits, weight and usage of each tenant, without keys or hashes
    POST   /admin/reload            read the configuration again
    POST   /admin/drain             shut down as on SIGTERM: finish the requests in flight, then exit

It always needs a key. On loopback, a key is made at start if the configuration has none; elsewhere it must be
configured.

A web page can make a browser on this machine send requests here. They are refused by their Origin, and by a Host that
is neither an IP address nor a configured name: a foreign name can be pointed at this address (DNS rebinding). A request
can set the address of an engine, but not the variable or file that holds its key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.classes import PriorityClass
from llm_gateway.engines import Engine, EnginePool
from llm_gateway.engines.settings import OPERATORS_FIELDS, EngineSettings
from llm_gateway.operations.reload import Reload
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.settings import AdminSettings
from llm_gateway.tenancy.keys import bearer, matches
from llm_gateway.tenancy.tenants import TenantTable, is_ip_address
from llm_gateway.tenancy.usage import UsageBook
from llm_proxy.edge.connections import expect
from llm_proxy.edge.responses import error_response, json_response
from llm_proxy.request import body as request_body

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT = 10.0

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Admin:
    """The handlers of the admin API. `digest` is that of its key, `drain_timeout` is in seconds."""

    def __init__(
        self,
        settings: AdminSettings,
        digest: bytes,
        pool: EnginePool,
        *,
        queue: RequestQueue,
        classes: Iterable[PriorityClass],
        tenants: TenantTable,
        usage: UsageBook,
        reload: Callable[[], Awaitable[Reload]],
        drain: Callable[[], None],
        drain_timeout: float,
    ) -> None:
        self._digest = digest
        self._hosts = frozenset(("localhost", settings.host.lower(), *settings.hosts))
        self._pool = pool
        self._queue = queue
        self._classes = classes
        self._tenants = tenants
        self._usage = usage
        self._reload = reload
        self._drain = drain
        self._drain_timeout = drain_timeout

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/admin/engines"): self._list_engines,
            ("POST", "/admin/engines"): self._add_engine,
            ("DELETE", "/admin/engines/{name}"): self._remove_engine,
            ("GET", "/admin/queue"): self._show_queue,
            ("GET", "/admin/tenants"): self._list_tenants,
            ("POST", "/admin/reload"): self._reload_now,
            ("POST", "/admin/drain"): self._drain_now,
        }
        for (method, path), handler in routes.items():
            app.router.add_route(method, path, self._guarded(handler), expect_handler=expect)
        app.router.add_route("*", "/{path:.*}", self._guarded(_not_found), expect_handler=expect)
        return app

    def _guarded(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            try:
                self._check(request)
                return await handler(request)
            except ApiError as error:
                return error_response(error)

        return answer

    def _check(self, request: web.Request) -> None:
        if "origin" in request.headers:
            raise ApiError(ErrorKind.FORBIDDEN, "the admin API refuses requests from web pages")
        if not self._is_ours(request.headers.get("host", "")):
            message = "this Host is not a name of the admin API; add it to `admin.hosts`"
            raise ApiError(ErrorKind.FORBIDDEN, message)
        if not matches(bearer(request.headers.get(headers.AUTHORIZATION)), self._digest):
            raise ApiError(
                ErrorKind.UNAUTHORIZED, "the admin key is required; send it as `Authorization: Bearer <key>`"
            )

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header is an IP address or a configured name, with any port."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return is_ip_address(name.strip("[]")) or name.lower().removesuffix(".") in self._hosts

    async def _list_engines(self, _: web.Request) -> web.Response:
        """List all engines, including removed ones until their last request has ended."""
        staying = [_engine(one, draining=False) for one in self._pool.engines]
        return json_response({"engines": staying + [_engine(one, draining=True) for one in self._pool.draining]})

    async def _add_engine(self, request: web.Request) -> web.Response:
        fields = request_body.parse(await request_body.read(request, MAX_BODY_BYTES, BODY_TIMEOUT))
        if forbidden := sorted(OPERATORS_FIELDS & fields.keys()):
            message = f"{', '.join(forbidden)}: only the configuration file can set this"
            raise ApiError(ErrorKind.INVALID_REQUEST, message, param=forbidden[0])
        try:
            settings = EngineSettings.from_request(fields)
        except ValidationError as error:
            raise ApiError(ErrorKind.INVALID_REQUEST, _what_is_wrong(error)) from None
        if settings.name in self._names():
            raise ApiError(ErrorKind.CONFLICT, f"an engine named {settings.name} exists already", param="name")
        self._pool.add(settings)
        log.warning("admin: added engine %s at %s", settings.name, settings.url)
        return json_response({"added": settings.name}, status=201)

    async def _remove_engine(self, request: web.Request) -> web.Response:
        """Remove an engine. Answer 200 once it is drained, or 202 after the drain timeout; it then leaves by itself."""
        name, names = request.match_info["name"], self._names()
        if name not in names:
            raise ApiError(ErrorKind.NOT_FOUND, f"there is no engine {name[:64]!r}; the engines are {', '.join(names)}")
        if len(names) == 1:
            raise ApiError(ErrorKind.CONFLICT, f"{name} is the only engine; add another one first")
        log.warning("admin: removing engine %s", name)
        done, _ = await asyncio.wait((self._pool.remove(name),), timeout=self._drain_timeout)
        return json_response({"removed": name} if done else {"draining": name}, status=200 if done else 202)

    async def _show_queue(self, _: web.Request) -> web.Response:
        by_class = {cls.name: self._queue.depth(cls.name) for cls in self._classes}
        return json_response({"waiting": len(self._queue), "by_class": by_class})

    async def _list_tenants(self, _: web.Request) -> web.Response:
        """List the configured tenants, and all others under their common labels once they have sent requests."""
        used = {label: asdict(usage) for label, usage in self._usage.items()}
        tenants = {name: _tenant(self._tenants, name) for name in self._tenants.by_name}
        labels = [*tenants, *(label for label in used if label not in tenants)]
        return json_response(
            {"tenants": [{"name": one, **tenants.get(one, {}), **used.get(one, {})} for one in labels]}
        )

    async def _reload_now(self, _: web.Request) -> web.Response:
        found = await self._reload()
        if found.result == "refused":
            raise ApiError(ErrorKind.INVALID_REQUEST, f"reload refused, the old configuration stays: {found.reason}")
        return json_response({"result": found.result, "changed": found.changed})

    async def _drain_now(self, _: web.Request) -> web.Response:
        log.warning("admin: drain")
        self._drain()
        return json_response({"draining": True}, status=202)

    def _names(self) -> list[str]:
        return [engine.name for engine in self._pool.engines]


async def _not_found(request: web.Request) -> web.Response:
    raise ApiError(ErrorKind.NOT_FOUND, f"no such endpoint: {request.method} {request.path}")


def _engine(engine: Engine, *, draining: bool) -> dict[str, Any]:
    return {
        "name": engine.name,
        "draining": draining,
        "up": engine.up,
        "reason": "" if engine.up else engine.reason,
        "in_flight": engine.in_flight,
        "max_in_flight": engine.max_in_flight,
    }


def _tenant(tenants: TenantTable, name: str) -> dict[str, Any]:
    tenant = tenants.by_name[name]
    limits = tenant.limits
    return {
        "weight": tenant.weight,
        "rpm": limits.requests if limits else None,
        "tpm": limits.tokens if limits else None,
        "default_class": tenant.default.name if tenant.default else None,
        "most_urgent": tenant.most_urgent.name if tenant.most_urgent else None,
    }


def _what_is_wrong(error: ValidationError) -> str:
    """Return the places and reasons of the errors without the values, which can be secrets."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'engine'}: {one['msg']}" for one in error.errors())
