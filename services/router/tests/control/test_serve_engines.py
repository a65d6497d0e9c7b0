"""Engines on Ray Serve: placement, publication, and lives that end together."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support_serve import alive, engines, until

if TYPE_CHECKING:
    from tests.support_serve import Router


def visible_gpus(pid: int) -> str:
    """Return CUDA_VISIBLE_DEVICES of a process."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(each for each in variables if each.startswith(b"CUDA_VISIBLE_DEVICES=")).decode().partition("=")[2]


def test_engines_are_published_with_a_gpu_each(router: Router) -> None:
    router.deploy(engines("main", replicas=2))
    found = router.wait_for("engines-main", 2)
    assert sorted(gpu for one in found for gpu in one["gpus"]) != []
    assert len({tuple(one["gpus"]) for one in found}) == 2
    for one in found:
        assert visible_gpus(one["engine_pid"]) == ",".join(one["gpus"])
        assert alive(one["pid"])
    status = router.settle("engines-main")
    assert {one.id for one in status.engines} == {one["id"] for one in found}
    assert {one.version for one in status.engines} == {status.version}
