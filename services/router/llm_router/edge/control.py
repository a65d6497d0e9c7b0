"""The edge's way to the control plane. An edge without one serves the engines that it was given, and scales nothing."""

from __future__ import annotations

from typing import Any, Protocol

from llm_router.status import Status


class Control(Protocol):
    """The calls that an edge makes. Each can raise; the edge goes on without the control plane."""

    async def status(self) -> Status:
        """Return the state of applications, engines, nodes and rollouts."""

    async def deploy(self, config: dict[str, Any]) -> Any:
        """Apply a configuration in the format of `serve deploy`. Raise ValueError if it is wrong."""

    async def scale(self, model: str, replicas: int) -> Any:
        """Set the number of engines of a model. Return a JSON value; raise ValueError if that is not possible."""

    async def ask_for_capacity(self, model: str) -> None:
        """Hold a call open that makes the autoscaler start an engine. Cancelled when no request needs it any more."""

    async def report_queue(self, model: str, waiting: int) -> None:
        """Tell the autoscaler how many requests of the model wait at this edge."""
