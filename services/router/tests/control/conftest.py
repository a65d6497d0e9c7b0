"""One Ray for all tests that need it; tests without Ray never import it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.support_serve import Router

GPUS = 4


@pytest.fixture(scope="session")
def router() -> Iterator[Router]:
    """A router with an edge and no engines on four logical GPUs. Afterwards, none of its processes is left."""
    from tests.support_serve import Router

    from llm_router.control import local

    os.environ["LLM_ROUTER_EDGE_SERVER"] = "tests.support_edge:make_server"
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    local.start(gpus=GPUS, cpus=8)
    try:
        found = Router()
        found.start()
        yield found
    finally:
        started = psutil.Process().children(recursive=True)
        local.stop()
        _, left = psutil.wait_procs(started, timeout=20)
        for process in left:
            process.kill()
    assert left == []
