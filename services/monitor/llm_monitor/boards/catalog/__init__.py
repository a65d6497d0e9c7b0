"""The boards, one module each, in the order of the page's navigation."""

from llm_monitor.boards.catalog.alerts import ALERTS
from llm_monitor.boards.catalog.engines import ENGINES
from llm_monitor.boards.catalog.gateway import GATEWAY
from llm_monitor.boards.catalog.gpus import GPUS
from llm_monitor.boards.catalog.monitor import MONITOR
from llm_monitor.boards.catalog.overview import OVERVIEW
from llm_monitor.boards.catalog.requests import REQUESTS
from llm_monitor.boards.catalog.router import ROUTER
from llm_monitor.boards.panel import Board

BOARDS: tuple[Board, ...] = (OVERVIEW, ENGINES, GATEWAY, ROUTER, GPUS, REQUESTS, ALERTS, MONITOR)


def board(key: str) -> Board:
    """Return a board by its key. Raises KeyError."""
    return next((one for one in BOARDS if one.key == key), None) or _missing(key)


def _missing(key: str) -> Board:
    raise KeyError(key)
