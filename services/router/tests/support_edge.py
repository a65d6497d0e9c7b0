"""A stand-in for the edge server: it lists its fleet and passes calls on to the control plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.fleet.engine import EngineInfo
from llm_router.settings import ModelSettings


class ListedFleet:
    """The last lists from Serve and the controller."""

    def __init__(self) -> None:
        self.models: list[ModelSettings] = []
        self.engines: dict[str, Sequence[EngineInfo]] = {}

    def set_models(self, models: Sequence[ModelSettings]) -> None:
        self.models = list(models)

    def set_engines(self, source: str, infos: Sequence[EngineInfo]) -> None:
        self.engines[source] = infos


class StandIn:
    def __init__(self, settings: EdgeAppSettings, fleet: ListedFleet, control: Any) -> None:
        self._settings = settings
        self._fleet = fleet
        self._control = control
        self.url = ""
        app = web.Application()
        app.router.add_get("/fleet", self._list)
        app.router.add_get("/status", self._status)
        app.router.add_post("/deploy", self._deploy)
        app.router.add_post("/scale", self._scale)
        app.router.add_post("/ticket", self._ticket)
        app.router.add_post("/queue", self._queue)
        self._runner = web.AppRunner(app)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port, reuse_port=True).start()
        self.url = f"http://{self._settings.host}:{self._runner.addresses[0][1]}"

    async def drain(self) -> None:
        await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        engines = {name: [info.to_dict() for info in infos] for name, infos in self._fleet.engines.items()}
        models = [model.model_dump() for model in self._fleet.models]
        return web.json_response({"engines": engines, "models": models})

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response((await self._control.status()).model_dump(mode="json"))

    async def _deploy(self, request: web.Request) -> web.Response:
        return await self._answer(self._control.deploy(await request.json()))

    async def _scale(self, request: web.Request) -> web.Response:
        body = await request.json()
        return await self._answer(self._control.scale(body["model"], body["replicas"]))

    async def _ticket(self, request: web.Request) -> web.Response:
        await self._control.ask_for_capacity(await request.json())
        return web.json_response({})

    async def _queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._control.report_queue(body["model"], body["waiting"])
        return web.json_response({})

    async def _answer(self, work: Any) -> web.Response:
        try:
            return web.json_response(await work)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)


def make_server(settings: EdgeAppSettings, control: Any) -> tuple[StandIn, ListedFleet]:
    fleet = ListedFleet()
    return StandIn(settings, fleet, control), fleet
