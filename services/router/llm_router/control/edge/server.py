"""The edge server of an edge replica, with its fleet. The replica imports it when it starts."""

from __future__ import annotations

from llm_router.control.edge.plane import ControlPlane
from llm_router.edge.server import EdgeServer
from llm_router.edge.settings import EdgeSettings
from llm_router.fleet import Fleet
from llm_router.settings import EdgeAppSettings


def make_server(settings: EdgeAppSettings, control: ControlPlane) -> tuple[EdgeServer, Fleet]:
    """Return the edge server and the fleet that it draws from."""
    fleet = Fleet()
    server = EdgeServer(EdgeSettings(**settings.model_dump(exclude={"edges"})), fleet=fleet, control=control)
    return server, fleet
