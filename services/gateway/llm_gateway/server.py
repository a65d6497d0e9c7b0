"""Listen, serve, and shut down cleanly: SIGTERM or SIGINT drains, and a second signal ends the drain at once."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from llm_gateway.app import Gateway
from llm_gateway.operations.admin import Admin
from llm_gateway.operations.reload import Reloader
from llm_gateway.settings import AdminSettings, GatewaySettings
from llm_gateway.tenancy.keys import digest_in, digest_of, new_key
from llm_proxy.edge.connections import EdgeRunner

GC_THRESHOLDS = (50_000, 20, 20)
"""Python's default, every 700 objects, would run dozens of times a second; requests leave few reference cycles."""

LAST_WRITES_SECONDS = 1.0
"""Time after the drain for complete answers to reach the wire."""

log = logging.getLogger(__name__)


async def serve(settings: GatewaySettings, config: Sequence[Path], load: Callable[[], GatewaySettings]) -> None:
    """Serve until a signal arrives. Print the URL on standard output once the gateway listens.

    `load` reads the settings again from the files `config`; SIGHUP and a change of a file trigger a reload.
    """
    signals = _signals()
    gateway = Gateway(settings)
    reloader = Reloader(settings, config, load, gateway.apply, count=gateway.metrics.reloaded)
    runner = EdgeRunner(gateway.app(), settings.edge, shutdown_timeout=LAST_WRITES_SECONDS)
    await runner.setup()
    admin: web.AppRunner | None = None
    watching = asyncio.create_task(_reload_on_signal_or_change(reloader))
    try:
        admin = await _admin(gateway, reloader, drain=lambda: signals.put_nowait(signal.SIGTERM))
        await web.TCPSite(runner, settings.host, settings.port).start()
        _collect_rarely()
        print(f"http://{settings.host}:{runner.addresses[0][1]}", flush=True)
        await signals.get()
        log.warning("draining: requests in flight have %g s", settings.drain_timeout)
        await _drain(gateway, runner, signals)
    finally:
        watching.cancel()
        if admin is not None:
            await admin.cleanup()
        await runner.cleanup()


def _collect_rarely() -> None:
    """Exempt the objects that exist now from garbage collection: they live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _admin(gateway: Gateway, reloader: Reloader, drain: Callable[[], None]) -> web.AppRunner | None:
    settings = gateway.settings
    if settings.admin.port is None:
        return None
    admin = Admin(
        settings.admin,
        _admin_digest(settings.admin),
        gateway.pool,
        queue=gateway.queue,
        classes=gateway.classes,
        tenants=gateway.tenants,
        usage=gateway.usage,
        reload=reloader.reload,
        drain=drain,
        drain_timeout=settings.drain_timeout,
    )
    runner = EdgeRunner(admin.app(), settings.edge, shutdown_timeout=LAST_WRITES_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, settings.admin.host, settings.admin.port).start()
    log.warning("admin API on http://%s:%d", settings.admin.host, runner.addresses[0][1])
    return runner


def _admin_digest(settings: AdminSettings) -> bytes:
    """Return the digest of the configured key. Without one, make a key and print it once; it is not stored."""
    if settings.key is not None:
        return digest_in(settings.key)
    key = new_key()
    print(f"llm-gateway: admin key, shown this once: {key}", file=sys.stderr, flush=True)
    return digest_of(key)


async def _reload_on_signal_or_change(reloader: Reloader) -> None:
    """Reload on SIGHUP and on a change of the file, until cancelled."""
    hangup = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reloader.watch())
        while True:
            await hangup.wait()
            hangup.clear()
            await reloader.reload()


async def _drain(gateway: Gateway, runner: EdgeRunner, signals: asyncio.Queue[int]) -> None:
    drained = asyncio.create_task(_say_goodbye_and_drain(gateway, runner))
    again = asyncio.create_task(signals.get())
    with suppress(TimeoutError):
        async with asyncio.timeout(gateway.settings.drain_timeout):
            await asyncio.wait((drained, again), return_when=asyncio.FIRST_COMPLETED)
    drained.cancel()
    again.cancel()


async def _say_goodbye_and_drain(gateway: Gateway, runner: EdgeRunner) -> None:
    """Serve on for `lame_duck` seconds, in which clients learn to go elsewhere. Then drain."""
    if gateway.settings.lame_duck:
        gateway.proxy.lame_duck = True
        await asyncio.sleep(gateway.settings.lame_duck)
        if runner.server is not None:
            runner.server.pre_shutdown()  # closes idle connections, and the others after their answer
    await gateway.proxy.drain()


def _signals() -> asyncio.Queue[int]:
    received: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received.put_nowait, number)
    return received
