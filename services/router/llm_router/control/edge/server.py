"""The edge server of an edge replica, with its fleet. The replica imports it when it starts."""

from __future__ import annotations

from llm_router.control.edge.plane import ControlPlane
from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.edge.server import EdgeServer
from llm_router.fleet import Fleet


def make_server(settings: EdgeAppSettings, control: ControlPlane) -> tuple[EdgeServer, Fleet]:
    """Return the edge server and the fleet that it draws from."""
    fleet = Fleet()
    return EdgeServer(settings, fleet=fleet, control=control), fleet
