"""Rollouts: the failure of an application in its own words, and the step that a rollout needs."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from llm_router.control.names import EDGE, ENGINES
from llm_router.control.rollouts.plan import edge_config, plan, version
from llm_router.control.rollouts.watch import essence, failure, follow

SERVE_SAYS = """The deployment failed to start 2 times in a row during a rolling update. See controller logs. Error:
ray.exceptions.RayTaskError(RuntimeError): ray::ServeReplica:engines-main:Engine.initialize_and_get_metadata()
  File "ray/serve/_private/replica.py", line 1928, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "llm_router/control/child.py", line 85, in ready
    raise self.failure(f"the engine ended with {_ending(self.exit_code)} before it was ready")
llm_router.x.EngineFailed: the engine ended with status 1 before it was ready: engine; its last lines:
Traceback (most recent call last):
ValueError: no such folder
"""


def test_the_engines_words_are_left() -> None:
    assert essence(SERVE_SAYS) == (
        "the engine ended with status 1 before it was ready: engine; its last lines:\n"
        "Traceback (most recent call last):\nValueError: no such folder"
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\nTraceback (most recent call last):\n  File\nKeyError: 'x'\n", "'x'"),
        ("waits for resources", "waits for resources"),
        ("", ""),
    ],
)
def test_other_failures(text: str, left: str) -> None:
    assert essence(text) == left


def test_a_deployment_says_more_than_its_application() -> None:
    detail = {"message": "Failed to update the deployments ['Engine'].", "deployments": {"Engine": {"message": "why"}}}
    assert failure(detail) == "why"
    assert failure({"message": "builder failed", "deployments": {}}) == "builder failed"


class Controller:
    """A controller that keeps what is applied."""

    def __init__(self, entries: Mapping[str, dict[str, Any]], status: Mapping[str, str]) -> None:
        self.applications = dict(entries)
        self.status = status
        self.applied = 0

    async def entries(self) -> dict[str, dict[str, Any]]:
        return deepcopy(self.applications)

    async def details(self) -> dict[str, Any]:
        return {
            name: {"status": status, "message": "broken", "deployments": {}} for name, status in self.status.items()
        }

    async def apply(self, config: Mapping[str, Any]) -> None:
        self.applied += 1
        self.applications = {entry["name"]: deepcopy(entry) for entry in config["applications"]}


def entries(revision: str = "", before: Mapping[str, dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    engines = {"model": "m", "engine_command": "e {port}", "revision": revision}
    applications = [
        {"name": "a", "import_path": ENGINES, "args": engines},
        {"name": "edge", "import_path": EDGE, "args": {}},
    ]
    planned = plan({"applications": applications}, before or {}, surge=lambda _: 0, now=1)
    return {entry["name"]: entry for entry in planned["applications"]}


async def step(controller: Controller) -> None:
    await follow(controller, now=5)  # type: ignore[arg-type]


async def test_a_failed_rollout_goes_back_and_says_why() -> None:
    old = entries("1")
    controller = Controller(entries("2", old), {"a": "DEPLOY_FAILED", "edge": "RUNNING"})
    await step(controller)
    assert version(controller.applications["a"]) == version(old["a"])
    assert {one.application: one.message for one in edge_config(controller.applications).rollouts}["a"] == "broken"


async def test_rollouts_end_when_nothing_deploys_and_then_nothing_is_applied() -> None:
    controller = Controller(entries(), {"a": "RUNNING", "edge": "RUNNING"})
    await step(controller)
    assert [one.ended for one in edge_config(controller.applications).rollouts] == [5, 5]
    await step(controller)
    assert controller.applied == 1


async def test_an_application_that_is_being_built_is_not_disturbed() -> None:
    controller = Controller(entries(), {"a": "DEPLOYING", "edge": "RUNNING"})
    await step(controller)
    assert controller.applied == 0


async def test_a_failure_after_the_rollout_ended_is_not_rolled_back() -> None:
    controller = Controller(entries("2", entries("1")), {"a": "RUNNING", "edge": "RUNNING"})
    await step(controller)
    controller.status = {"a": "DEPLOY_FAILED", "edge": "RUNNING"}
    await step(controller)
    assert controller.applied == 1


async def test_a_first_version_that_fails_stays() -> None:
    controller = Controller(entries(), {"a": "DEPLOY_FAILED", "edge": "RUNNING"})
    await step(controller)
    assert version(controller.applications["a"]) == version(entries()["a"])
