"""Edges that change one configuration: no change is lost, however slowly the controller answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import pytest
from tests.control.test_change_lock import Memory

from llm_router.control.change_lock import ChangeLock
from llm_router.control.edge import plane
from llm_router.control.edge.engine_lists import EngineLists
from llm_router.control.edge.plane import ControlPlane
from llm_router.control.names import EDGE, ENGINES
from llm_router.control.rollouts.plan import edge_config
from llm_router.control.serve_controller import ServeController


class SlowController:
    """A controller whose `details` answer only when the test says so."""

    def __init__(self) -> None:
        self.applications: dict[str, dict[str, Any]] = {}
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def entries(self) -> dict[str, dict[str, Any]]:
        return deepcopy(self.applications)

    async def details(self) -> dict[str, Any]:
        self.asked.set()
        await self.go.wait()
        return {name: {"status": "RUNNING", "message": "", "deployments": {}} for name in self.applications}

    async def apply(self, config: Mapping[str, Any]) -> None:
        self.applications = {entry["name"]: deepcopy(entry) for entry in config["applications"]}


def configuration(revision: str) -> dict[str, Any]:
    args = {"model": "m", "engine_command": "e {port}", "revision": revision}
    return {
        "applications": [
            {"name": "engines", "import_path": ENGINES, "args": args},
            {"name": "edge", "import_path": EDGE, "args": {}},
        ]
    }


@pytest.mark.parametrize("same", [True, False], ids=["the same edge", "another edge"])
async def test_a_deploy_outlives_the_end_of_the_rollout_before(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll that closes the first rollout has read the old configuration when the deploy comes."""
    monkeypatch.setattr(plane, "nodes", list)
    controller, store = SlowController(), Memory()

    def edge() -> ControlPlane:
        lists = cast(EngineLists, type("Lists", (), {"update": lambda *_: None, "engines": {}})())
        return ControlPlane("edge", lists, cast(ServeController, controller), ChangeLock(store))

    one = edge()
    other = one if same else edge()
    controller.go.set()
    await one.deploy(configuration("1"))
    controller.go.clear()
    controller.asked.clear()
    polling = asyncio.create_task(one.poll())
    await controller.asked.wait()
    deploying = asyncio.create_task(other.deploy(configuration("2")))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(deploying), 0.2)
    controller.go.set()
    await asyncio.gather(polling, deploying)
    assert controller.applications["engines"]["args"]["revision"] == "2"
    (record,) = [one for one in edge_config(controller.applications).rollouts if one.application == "engines"]
    assert record.ended is None
    await one.poll()
    assert controller.applications["engines"]["args"]["revision"] == "2"
