"""Engines on Ray Serve: placement, publication, lives that end together, recovery."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from tests.support_serve import alive, engines, until

if TYPE_CHECKING:
    from tests.support_serve import Router

MAIN = engines("main", replicas=2)


def visible_gpus(pid: int) -> str:
    """Return CUDA_VISIBLE_DEVICES of a process."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(each for each in variables if each.startswith(b"CUDA_VISIBLE_DEVICES=")).decode().partition("=")[2]


def replaced(router: Router, gone: str) -> bool:
    return gone not in {one["id"] for one in router.wait_for("engines-main", 2)}


def test_engines_are_published_with_a_gpu_each_that_their_processes_inherit(router: Router) -> None:
    router.deploy(MAIN)
    found = router.wait_for("engines-main", 2)
    assert len({tuple(one["gpus"]) for one in found}) == 2
    for one in found:
        assert visible_gpus(one["engine_pid"]) == one["gpus"][0]
    status = router.settle("engines-main")
    assert {one.id for one in status.engines} == {one["id"] for one in found}
    assert {one.version for one in status.engines} == {status.version}
    assert {one.engine_pid for one in status.engines} == {one["engine_pid"] for one in found}


def test_engine_and_replica_die_together_and_are_replaced(router: Router) -> None:
    router.deploy(MAIN)
    first, second = router.wait_for("engines-main", 2)
    os.kill(first["engine_pid"], signal.SIGKILL)
    until(lambda: not alive(first["pid"]), 5)
    os.kill(second["pid"], signal.SIGKILL)
    until(lambda: not alive(second["engine_pid"]), 5)
    until(lambda: replaced(router, first["id"]) and replaced(router, second["id"]))


def test_a_killed_engine_is_replaced_after_the_controller_was_killed(router: Router) -> None:
    router.deploy(MAIN)
    first, _ = router.wait_for("engines-main", 2)
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
    os.kill(ray.get(controller.get_pid.remote()), signal.SIGKILL)
    os.kill(first["engine_pid"], signal.SIGKILL)
    until(lambda: replaced(router, first["id"]))
    until(lambda: router.status().controller == "running")


def test_two_halves_share_a_gpu_and_two_ranks_have_two(router: Router) -> None:
    router.deploy(engines("half", replicas=2, gpus=0.5), engines("ranks", tensor_parallel=2))
    halves = router.wait_for("engines-half", 2)
    (ranks,) = router.wait_for("engines-ranks", 1)
    assert halves[0]["gpus"] == halves[1]["gpus"]
    assert visible_gpus(halves[0]["engine_pid"]) == visible_gpus(halves[1]["engine_pid"]) == halves[0]["gpus"][0]
    assert len(set(ranks["gpus"]) - set(halves[0]["gpus"])) == 2
    assert visible_gpus(ranks["engine_pid"]) == ",".join(ranks["gpus"])
    router.deploy()
    until(lambda: not alive(ranks["engine_pid"]))


def test_an_engine_that_stands_still_is_replaced(router: Router) -> None:
    router.deploy(engines("main", progress_timeout=5))
    (engine,) = router.wait_for("engines-main", 1, router.rollout("engines-main").to_version)
    os.kill(engine["engine_pid"], signal.SIGSTOP)
    until(lambda: not alive(engine["engine_pid"]))
    (other,) = router.wait_for("engines-main", 1)
    assert other["id"] != engine["id"]
