"""The status: from the controller's words, the published engines and the nodes."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router.control.names import EDGE, ENGINES
from llm_router.control.rollouts.plan import plan, version
from llm_router.control.rollouts.state import status_of
from llm_router.fleet.engine import EngineInfo
from llm_router.status import ApplicationStatus, NodeStatus, RolloutStatus, Status

NODE = NodeStatus(id="n1", address="10.0.0.1", alive=True, gpus=4, gpus_free=0, cpus=8, cpus_free=7)


def entries(before: dict[str, Any] | None = None, **args: Any) -> dict[str, dict[str, Any]]:
    applications = [
        {"name": "a", "import_path": ENGINES, "args": {"model": "m", "engine_command": "e {port}", **args}},
        {"name": "edge", "import_path": EDGE, "args": {}},
    ]
    planned = plan({"applications": applications}, before or {}, surge=lambda _: 0, now=1)
    return {entry["name"]: entry for entry in planned["applications"]}


def replica(name: str, state: str, node: str | None = "n1") -> dict[str, Any]:
    return {"replica_id": name, "state": state, "node_id": node, "pid": 7}


def detail(status: str, replicas: list[dict[str, Any]], target: int, message: str = "") -> dict[str, Any]:
    return {
        "status": status,
        "message": message,
        "deployments": {"Engine": {"target_num_replicas": target, "replicas": replicas, "message": message}},
    }


def status(now: dict[str, Any], replicas: list[dict[str, Any]], target: int, state: str = "RUNNING") -> Status:
    info = EngineInfo(id="one", model="m", url="http://x:1", version=version(now["a"]), gpus=("0",), node="n1", pid=7)
    details = {"a": detail(state, replicas, target, "why"), "edge": detail("RUNNING", [replica("e", "RUNNING")], 1)}
    return status_of(now, details, {"a": [info]}, [NODE])


def application(found: Status) -> ApplicationStatus:
    return next(one for one in found.applications if one.name == "a")


def rollout(found: Status) -> RolloutStatus:
    return next(one for one in found.rollouts if one.application == "a")


def test_engines_have_what_they_published() -> None:
    found = application(status(entries(policy="p2c"), [replica("one", "RUNNING"), replica("two", "STARTING")], 2))
    one, two = found.engines
    assert (one.state, one.url, one.gpus, one.version) == ("RUNNING", "http://x:1", ("0",), found.version)
    assert (two.state, two.url, two.version, two.pid) == ("STARTING", "", "", 7)
    assert (found.ready, found.target, found.policy, found.model) == (1, 2, "p2c", "m")


def test_replicas_without_a_node_wait_for_a_gpu() -> None:
    found = application(status(entries(), [replica("one", "RUNNING"), replica("two", "STARTING", None)], 2))
    assert found.waits_for == "1 × 1 GPU; 0 of 4 are free"


def test_replicas_with_a_node_do_not_wait() -> None:
    assert application(status(entries(), [replica("two", "STARTING")], 2)).waits_for == ""


@pytest.mark.parametrize(("args", "bounds"), [({"replicas": 2}, None), ({"autoscaling": {"max": 3}}, (1, 3))])
def test_bounds_are_shown_where_the_number_varies(args: dict[str, Any], bounds: tuple[int, int] | None) -> None:
    assert application(status(entries(**args), [], 1)).autoscaling == bounds


@pytest.mark.parametrize(
    ("serve", "state"), [("DEPLOYING", "in_progress"), ("RUNNING", "done"), ("DEPLOY_FAILED", "rolling_back")]
)
def test_the_state_of_a_rollout(serve: str, state: str) -> None:
    now = entries(entries(revision="1"), revision="2")
    found = rollout(status(now, [replica("one", "RUNNING")], 2, serve))
    assert (found.state, found.ready, found.target) == (state, 1, 2)


def test_a_first_version_that_does_not_start_has_failed() -> None:
    found = rollout(status(entries(), [], 1, "DEPLOY_FAILED"))
    assert (found.state, found.message) == ("failed", "why")
