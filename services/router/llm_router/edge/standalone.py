"""An edge before engines that already run: no control plane, no Ray.

    llm-router edge --engine http://127.0.0.1:8100 --engine http://127.0.0.1:8101 --policy prefix --port 8000

Each engine says under /v1/models which model it serves; the first one listed counts. An engine that does not answer yet
joins when it does. Engines with different models are one fleet with several models.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress

import orjson
import uvloop
from pydantic import Field
from yarl import URL

from llm_contract import logs
from llm_contract.settings import ServiceSettings, load
from llm_proxy.upstream.addresses import BaseUrl
from llm_proxy.upstream.client import EngineError
from llm_proxy.upstream.target import Target
from llm_router.edge.server import EdgeServer
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import EngineInfo, Fleet
from llm_router.settings import ModelSettings, PolicyName

SOURCE, SERVICE = "standalone", "llm-router"
ASK_SECONDS = 1.0
"""Time between two questions to an engine whose model is not known."""
ANSWER_TIMEOUT = 2.0

log = logging.getLogger(__name__)


class StandaloneSettings(ServiceSettings, EdgeSettings, env_prefix="LLM_ROUTER_EDGE_"):  # type: ignore[misc]
    """An edge before engines that already run."""

    engine: tuple[BaseUrl, ...] = Field(min_length=1, description="base URL of an engine, without /v1; repeatable")
    policy: PolicyName = ModelSettings.model_fields["policy"]  # type: ignore[assignment]
    max_running: int = ModelSettings.model_fields["max_running"]  # type: ignore[assignment]
    queue: int = ModelSettings.model_fields["queue"]  # type: ignore[assignment]
    progress_timeout: float = ModelSettings.model_fields["progress_timeout"]  # type: ignore[assignment]
    resume: bool = ModelSettings.model_fields["resume"]  # type: ignore[assignment]
    reuse_port: bool = Field(False, description="share the port with other edges on this host")

    def model(self, name: str) -> ModelSettings:
        return ModelSettings(
            name=name,
            policy=self.policy,
            max_running=self.max_running,
            queue=self.queue,
            progress_timeout=self.progress_timeout,
            resume=self.resume,
        )


class StaticEngines:
    """Keeps a fleet's engines equal to those URLs that have said which model they serve."""

    def __init__(self, settings: StandaloneSettings, server: EdgeServer) -> None:
        self._settings = settings
        self._server = server
        self._models: dict[str, str] = {}
        """URL -> model."""
        self._complaints: dict[str, str] = {}
        """URL -> the last reason why its model is not known. Each is logged once."""

    async def ask(self) -> None:
        """Ask the engines whose model is not known yet, once."""
        unknown = [url for url in self._settings.engine if url not in self._models]
        found = await asyncio.gather(*map(self._ask, unknown))
        new = {url: model for url, model in zip(unknown, found, strict=True) if model is not None}
        if not new:
            return
        self._models |= new
        fleet = self._server.fleet
        fleet.set_models([self._settings.model(name) for name in sorted(set(self._models.values()))])
        infos = [EngineInfo(id=url, model=model, url=url, version="") for url, model in self._models.items()]
        fleet.set_engines(SOURCE, infos)

    async def keep_asking(self) -> None:
        while len(self._models) < len(set(self._settings.engine)):
            await asyncio.sleep(ASK_SECONDS)
            await self.ask()

    async def _ask(self, url: str) -> str | None:
        engine = Target(URL(url), shown=url)
        try:
            _, page = await self._server.upstream.fetch(engine, "GET", "/v1/models", ANSWER_TIMEOUT)
            name = orjson.loads(page)["data"][0]["id"]
        except (EngineError, ValueError, LookupError, TypeError) as error:
            if self._complaints.get(url) != str(error):
                self._complaints[url] = str(error)
                log.warning("engine %s does not list its models: %s", url, getattr(error, "reason", error))
            return None
        return name if isinstance(name, str) else None


async def serve(settings: StandaloneSettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. Print the URL when the edge listens."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    server = EdgeServer(settings, fleet=Fleet(), control=None)
    await server.start()
    engines = StaticEngines(settings, server)
    await engines.ask()
    asking = asyncio.create_task(engines.keep_asking())
    print(server.url, flush=True)
    await signals.get()
    asking.cancel()
    draining = asyncio.create_task(server.drain())
    again = asyncio.create_task(signals.get())
    await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not draining.done():
        draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining
        await server.stop()


def main(argv: Sequence[str]) -> None:
    """Run `llm-router edge`."""
    settings = load(StandaloneSettings, prog="llm-router edge", argv=argv)
    logs.configure(SERVICE, settings.log_format, logging.WARNING)
    try:
        uvloop.run(serve(settings))
    except OSError as error:  # the port is taken, or the host is not an address of this machine
        raise SystemExit(f"llm-router edge: cannot listen on {settings.host}:{settings.port}: {error}") from None
