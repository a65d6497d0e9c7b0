"""/v1/models: the models of the fleet. An engine describes its model; one without an engine has a bare entry."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.responses import json_response
from llm_proxy.upstream.client import EngineError, Upstream
from llm_router.edge.proxy.job import MAX_SHOWN
from llm_router.fleet import Engine, Fleet

CARD_TIMEOUT = 2.0

Card = dict[str, Any]


class Models:
    """The list of models. Each version's description is read once, from one of its engines."""

    def __init__(self, fleet: Fleet, upstream: Upstream) -> None:
        self._fleet = fleet
        self._upstream = upstream
        self._cards: dict[str, tuple[str, Card]] = {}
        """Model -> (version of the engine that described it, entry of /v1/models)."""

    async def list_all(self, _: web.Request) -> web.Response:
        """Handle GET /v1/models."""
        return json_response({"object": "list", "data": await self._all(sorted(self._fleet.models))})

    async def show(self, request: web.Request) -> web.Response:
        """Handle GET /v1/models/{id}."""
        name = request.match_info["id"]
        if name not in self._fleet.models:
            raise ApiError(ErrorKind.MODEL_NOT_FOUND, f"The model `{name[:MAX_SHOWN]}` does not exist.", param="model")
        return json_response((await self._all([name]))[0])

    async def _all(self, names: list[str]) -> list[Card]:
        return await asyncio.gather(*map(self._card, names))

    async def _card(self, name: str) -> Card:
        up = self._fleet.up(name)
        version, card = self._cards.get(name, (None, None))
        if up and (card is None or version != up[0].info.version):
            card = await self._read(up[0], name) or card
            if card is not None:
                self._cards[name] = up[0].info.version, card
        return card or {"id": name, "object": "model", "created": 0, "owned_by": "llm-router"}

    async def _read(self, engine: Engine, name: str) -> Card | None:
        try:
            _, page = await self._upstream.fetch(engine, "GET", "/v1/models", CARD_TIMEOUT)
            cards = {card["id"]: card for card in orjson.loads(page)["data"]}
        except (EngineError, ValueError, LookupError, TypeError):
            return None
        return cards.get(name)
