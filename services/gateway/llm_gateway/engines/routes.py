"""Routes: the engines that can run a request, because they serve its model.

Requests with the same route compete for the same engines. A request without a model can go to any engine. An engine
whose models are unknown gets any request and judges it itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_gateway.engines.engine import Engine

Route = tuple[Engine, ...]


class Routes:
    """The routes for one state of the engines; a change makes a new table. Equal routes are the same object."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        interned: dict[Route, Route] = {}

        def serving(model: str) -> Route:
            route = tuple(one for one in engines if one.models is None or model in one.models)
            return interned.setdefault(route, route)

        self.all = interned.setdefault(tuple(engines), tuple(engines))
        unknown = tuple(one for one in engines if one.models is None)
        self._unknown = interned.setdefault(unknown, unknown)
        models = {model for one in engines for model in one.models or ()}
        self._by_model = {model: serving(model) for model in models}
        self.distinct = [route for route in interned if route]

    def of(self, model: str | None) -> Route:
        """Return the engines that serve the model, whether up or down; () if there is none."""
        return self.all if model is None else self._by_model.get(model, self._unknown)
