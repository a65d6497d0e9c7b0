"""The number of engines on Ray Serve: orders, GPUs that are missing, drains, zero."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.support_serve import Stream, engines, until

if TYPE_CHECKING:
    from tests.support_serve import Router


def test_an_engine_without_a_gpu_waits_and_one_that_is_too_many_drains(router: Router) -> None:
    slow = "{python} -m llm_contract.testing --port {port} --model {model} --gaps 0.1"
    router.deploy(engines("main", replicas=1, gpus=2, engine_command=slow))
    router.settle("engines-main")
    (first,) = router.wait_for("engines-main", 1)
    router.scale("main", 3)
    both = router.wait_for("engines-main", 2)
    assert first["id"] in {one["id"] for one in both}
    until(lambda: router.application("engines-main").waits_for == "1 × 2 GPU; 0 of 4 are free")
    assert (router.application("engines-main").target, router.application("engines-main").ready) == (3, 2)

    streams = [Stream(one["url"], tokens=40) for one in both]
    for stream in streams:
        assert stream.begun.wait(20)
    router.scale("main", 1)
    router.wait_for("engines-main", 1)
    assert sum(stream.done.is_set() for stream in streams) < 2, "the list must change before the drain ends"
    for stream in streams:
        assert stream.done.wait(30)
        assert stream.text.endswith("data: [DONE]\n\n")
    assert len(router.settle("engines-main").engines) == 1


@pytest.mark.parametrize(
    ("model", "replicas", "error"), [("main", 0, "cannot scale main to 0"), ("x", 1, "not served")]
)
def test_an_order_that_makes_no_sense(router: Router, model: str, replicas: int, error: str) -> None:
    assert error in router.scale(model, replicas)["error"]


def test_from_zero_by_a_ticket_up_by_a_queue_and_back_to_zero(router: Router) -> None:
    bounds = {"min": 0, "max": 2, "target": 4, "downscale_seconds": 4}
    router.deploy(engines("auto", autoscaling=bounds))
    until(lambda: router.application("engines-auto").status == "RUNNING")
    until(lambda: router.serves("auto"))
    assert router.listed("engines-auto") == []

    served = threading.Event()

    def wait() -> None:
        router.ask("/ticket", "auto")
        served.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    router.wait_for("engines-auto", 1)
    waiting.join(20)
    assert served.is_set()

    def two() -> bool:
        router.ask("/queue", {"model": "auto", "waiting": 5})
        return router.application("engines-auto").target == 2

    until(two)
    router.wait_for("engines-auto", 0)
