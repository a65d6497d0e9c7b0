"""The models of all engines as one list, and the mapping from a client's name for a model to the engines' name.

    aliases: {gpt-4o: llama-3.1-8b}     a client can request gpt-4o; the engine gets llama-3.1-8b

A name that no engine has gets a 404 in OpenAI's words. It gets a 503 while an engine is down whose models were never
read, as that engine might have it. A model whose engines are all down stays in the list; a request for it gets a 503.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_gateway.engines import EnginePool
from llm_gateway.engines.engine import ModelCard
from llm_gateway.tenancy.tenants import TenantTable
from llm_proxy.edge.responses import json_response

MAX_SHOWN = 256
"""Most characters of a client's model name that a message repeats."""


class Models:
    """The list of models. `aliases` maps clients' names to engines' names; an alias cannot stand for another alias."""

    def __init__(
        self, pool: EnginePool, tenants: TenantTable, *, aliases: Mapping[str, str], retry_after: float
    ) -> None:
        self.aliases = aliases
        self._pool = pool
        self._tenants = tenants
        self._retry_after = retry_after

    def resolve(self, asked: str | None) -> str | None:
        """Return the engines' name for a model, None for None. Raise ApiError (404 or 503) if no engine serves it."""
        if asked is None:
            return None
        model = self.aliases.get(asked, asked)
        if not self._pool.routes.of(model):
            raise self._missing(asked)
        return model

    async def list(self, request: web.Request) -> web.Response:
        """Handle GET /v1/models."""
        self._tenants.authenticate(request.headers)
        self._need_an_engine()
        return json_response({"object": "list", "data": [*self.cards().values()]})

    async def show(self, request: web.Request) -> web.Response:
        """Handle GET /v1/models/{id}."""
        self._tenants.authenticate(request.headers)
        name = request.match_info["id"]
        card = self.cards().get(name)
        if card is None:
            self._need_an_engine()
            raise self._missing(name)
        return json_response(card)

    def cards(self) -> dict[str, ModelCard]:
        """Return an entry for each model and each alias, by name. The first engine that serves a model describes it."""
        found: dict[str, ModelCard] = {}
        for engine in self._pool.engines:
            for name, card in engine.cards.items():
                found.setdefault(name, card)
        aliases = {alias: {**found[name], "id": alias} for alias, name in self.aliases.items() if name in found}
        return {**found, **aliases}

    def _need_an_engine(self) -> None:
        if not self._pool.any_up():
            message = f"no engine answered; {self._pool.why_down()}"
            raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, message, retry_after=self._retry_after)

    def _missing(self, asked: str) -> ApiError:
        shown = asked[:MAX_SHOWN]
        if any(engine.models is None and not engine.up for engine in self._pool.engines):
            message = f"no engine that is up serves the model `{shown}`; {self._pool.why_down()}"
            return ApiError(ErrorKind.ENGINE_UNAVAILABLE, message, param="model", retry_after=self._retry_after)
        return ApiError(ErrorKind.MODEL_NOT_FOUND, f"The model `{shown}` does not exist.", param="model")


def model_cards(page: bytes) -> dict[str, ModelCard] | None:
    """Return the entries of an engine's /v1/models page by name, None if it is not a list of models."""
    try:
        cards = {card["id"]: card for card in orjson.loads(page)["data"]}
    except (ValueError, LookupError, TypeError):
        return None
    return cards if all(isinstance(name, str) for name in cards) else None
