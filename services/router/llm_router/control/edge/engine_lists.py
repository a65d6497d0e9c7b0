"""The engines of every model, kept up to date in one edge.

Each second the controller is asked which `engines` applications exist. A handle for each of them, which is never
called, brings the list of its replicas by Serve's long poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from llm_router.control.edge import publisher
from llm_router.control.names import ENGINE_DEPLOYMENT
from llm_router.control.rollouts.plan import edge_config, is_engines
from llm_router.fleet.engine import EngineInfo
from llm_router.settings import ModelSettings

WAIT_SECONDS = 0.2

log = logging.getLogger(__name__)


class EngineLists:
    """Passes models and engines on: `set_models` and `set_engines` are called from any thread."""

    def __init__(
        self,
        set_models: Callable[[Sequence[ModelSettings]], None],
        set_engines: Callable[[str, Sequence[EngineInfo]], None],
    ) -> None:
        self._set_models = set_models
        self._set_engines = set_engines
        self._models: Sequence[ModelSettings] = ()
        self.handles: dict[str, DeploymentHandle[Any]] = {}
        """By application."""
        self.application_of: dict[str, str] = {}
        """Model -> application."""
        self.engines: dict[str, Sequence[EngineInfo]] = {}
        """By application."""

    def update(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over the controller's applications."""
        wanted = {name: entry for name, entry in entries.items() if is_engines(entry)}
        self.application_of = {(entry.get("args") or {}).get("model", ""): name for name, entry in wanted.items()}
        models = edge_config({name: dict(entry) for name, entry in entries.items()}).models
        if models != self._models:
            self._models = models
            self._set_models(models)
        for name in self.handles.keys() - wanted.keys():
            publisher.unsubscribe(name)
            del self.handles[name]
            self._received(name, ())
        for name in wanted.keys() - self.handles.keys():
            with suppress(KeyError):  # it is not built yet; the next update finds it
                # `options` makes the handle's router, which starts the long poll. A call would wake a model at zero.
                self.handles[name] = serve.get_deployment_handle(ENGINE_DEPLOYMENT, name).options()
                publisher.subscribe(name, partial(self._received, name))

    async def handle_of(self, model: str) -> DeploymentHandle[Any] | None:
        """Return the handle to a model's engines, once its application is built; None if the model is unknown."""
        while (application := self.application_of.get(model)) is not None:
            if application in self.handles:
                return self.handles[application]
            await asyncio.sleep(WAIT_SECONDS)
        return None

    def _received(self, application: str, infos: Sequence[EngineInfo]) -> None:
        if infos:
            self.engines[application] = infos
        else:
            self.engines.pop(application, None)
        self._set_engines(application, infos)
