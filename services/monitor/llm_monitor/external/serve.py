"""The TLS listener of the external metrics API.

Kubernetes's API server authenticates and authorises the caller, then forwards the request under its proxy client
certificate. A connection without a certificate from `client_ca` ends in the handshake, so no other client can ask.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from llm_monitor.external.api import ExternalMetrics, failure
from llm_monitor.external.settings import ExternalMetricsSettings
from llm_monitor.web.queries import Queries

RELOAD_SECONDS = 60.0
log = logging.getLogger(__name__)


@asynccontextmanager
async def serve(
    settings: ExternalMetricsSettings, queries: Queries, *, reload_seconds: float = RELOAD_SECONDS
) -> AsyncIterator[str]:
    """Serve until the block ends, and yield the URL. Raise OSError for files that cannot be read or a taken port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, settings)
    app = web.Application(middlewares=[_only(settings.client_names)])
    ExternalMetrics(queries, settings.metrics, settings.namespaces).add_routes(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
        reloading = asyncio.create_task(_reload(context, settings, reload_seconds))
        yield f"https://{settings.host}:{runner.addresses[0][1]}"
        reloading.cancel()
    finally:
        await runner.cleanup()


def _load(context: ssl.SSLContext, settings: ExternalMetricsSettings) -> None:
    context.load_cert_chain(settings.certificate, settings.key)
    context.load_verify_locations(settings.client_ca)


async def _reload(context: ssl.SSLContext, settings: ExternalMetricsSettings, every: float) -> None:
    """Use renewed files for new connections. While they cannot be read, the old ones stay in use."""
    while True:
        await asyncio.sleep(every)
        try:
            _load(context, settings)
        except OSError as error:
            log.warning("the certificate of the external metrics cannot be read again: %s", error)


def _only(names: Collection[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Return a middleware that refuses client certificates under other names."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if names and _common_name(certificate or {}) not in names:
            return failure(403, "Forbidden", "only the API server's proxy can ask; see external_metrics.client_names")
        return await handler(request)

    return check


def _common_name(certificate: Mapping[str, Any]) -> str:
    pairs = [pair for part in certificate.get("subject", ()) for pair in part]
    return str(dict(pairs).get("commonName", ""))
