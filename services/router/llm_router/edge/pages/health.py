"""Health and readiness, for load balancers, for people, and for KubeRay, which asks what it asks a Serve proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.edge.responses import json_response
from llm_router.edge.pages.status import StatusPages
from llm_router.fleet import Fleet

PATIENCE_SECONDS = 0.2
"""Time that /ready waits for the control plane: a probe must not fail because the control plane is down."""


class HealthPages:
    """The handlers. `draining` returns whether the edge is about to end."""

    def __init__(self, fleet: Fleet, status: StatusPages, draining: Callable[[], bool]) -> None:
        self._fleet = fleet
        self._status = status
        self._draining = draining

    async def health(self, _: web.Request) -> web.Response:
        """Handle GET /health: the edge is alive."""
        return json_response({"status": "alive"})

    async def healthz(self, _: web.Request) -> web.Response:
        """Handle GET /-/healthz, in the word of Serve's proxy."""
        return web.Response(text="success")

    async def routes(self, _: web.Request) -> web.Response:
        """Handle GET /-/routes, in the format of Serve's proxy: route prefix -> application."""
        return json_response({"/": "edge"})

    async def ready(self, _: web.Request) -> web.Response:
        """Handle GET /ready: how many engines of how many are up, per model.

        The edge is ready if an engine is up, or if a model is scaled to zero and a request would start one.
        """
        if self._draining():
            raise ApiError(ErrorKind.DRAINING, "the edge is shutting down")
        wanted, waits_for = await self._wanted()
        models = {name: self._model(name, wanted.get(name), waits_for.get(name, "")) for name in self._fleet.models}
        if not any(model["up"] or (model["of"] == 0 and name in wanted) for name, model in models.items()):
            counts = ", ".join(f"{name}: {_counts(model)}" for name, model in models.items())
            raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, f"no engine is up; {counts or 'there is no model yet'}")
        return json_response({"status": "ready", "models": models})

    def _model(self, name: str, wanted: int | None, waits_for: str) -> dict[str, Any]:
        listed, up = len(self._fleet.engines(name)), len(self._fleet.up(name))
        found: dict[str, Any] = {"up": up, "of": listed if wanted is None else max(wanted, up)}
        if waits_for:
            found["waits_for"] = waits_for
        return found

    async def _wanted(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the number of engines that the control plane aims at, and why some do not start, by model."""
        try:
            state = await self._status.of_control(PATIENCE_SECONDS)
        except Exception:  # noqa: BLE001  an edge without its control plane serves on
            state = self._status.last
        applications = [] if state is None else [one for one in state.applications if one.kind == "engines"]
        return {one.model: one.target for one in applications}, {one.model: one.waits_for for one in applications}


def _counts(model: dict[str, Any]) -> str:
    waits = f" ({model['waits_for']})" if "waits_for" in model else ""
    return f"{model['up']} of {model['of']} engines{waits}"
