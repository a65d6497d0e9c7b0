"""Serve's controller, from an event loop: the applications it has, their state, and a new configuration for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import ray
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.schema import ServeDeploySchema

CALL_SECONDS = 10.0


class ControllerUnreachable(RuntimeError):
    """The controller does not answer now: it is being restarted, or the GCS is gone."""


class ServeController:
    """The controller of the cluster that this process is connected to. It keeps its handle when it is restarted."""

    def __init__(self) -> None:
        self._actor: Any = None

    async def entries(self) -> dict[str, dict[str, Any]]:
        """Return the declarative entry of each application by its name."""
        configs = await self._call("get_app_configs")
        return {name: config.model_dump(mode="json", exclude_unset=True) for name, config in configs.items()}

    async def details(self) -> dict[str, Any]:
        """Return the applications with deployments and replicas, by name."""
        details = (await self._call("get_serve_instance_details"))["applications"]
        plain: dict[str, Any] = orjson.loads(orjson.dumps(details))  # without enums
        return plain

    async def apply(self, config: Mapping[str, Any]) -> None:
        """Replace the applications. Only those whose code or args changed restart."""
        await self._call("apply_config", ServeDeploySchema.model_validate(dict(config)))

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                if self._actor is None:
                    self._actor = await asyncio.to_thread(ray.get_actor, SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
                return await getattr(self._actor, method).remote(*arguments)
        except ray.exceptions.RayTaskError:
            raise  # the controller answered: it refused
        except (TimeoutError, ValueError, ray.exceptions.RayError) as error:
            raise ControllerUnreachable(f"Serve's controller does not answer: {error}") from error
