"""The edge server of an edge replica, with its fleet."""

from __future__ import annotations

from typing import Any

from llm_router.settings import EdgeAppSettings


def make_server(settings: EdgeAppSettings, control: Any) -> tuple[Any, Any]:
    """Return the edge server and the fleet that it draws from."""
    raise NotImplementedError
