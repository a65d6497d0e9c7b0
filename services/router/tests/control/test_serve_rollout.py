"""Rollouts on Ray Serve: only what changed restarts, never below N, back if it does not start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support_serve import engines, until

if TYPE_CHECKING:
    from tests.support_serve import Router

MAIN = engines("main", replicas=2)
OTHER = engines("other")
BROKEN = "{python} -c \"print('loading'); raise SystemExit('no weights for {port}')\""


def ids(router: Router, name: str) -> set[str]:
    return {one["id"] for one in router.listed(name)}


def test_a_rollout_surges_and_restarts_only_its_application(router: Router) -> None:
    router.deploy(MAIN, OTHER)
    router.wait_for("engines-main", 2)
    router.wait_for("engines-other", 1)
    router.settle("engines-main")
    other, edge = ids(router, "engines-other"), router.application("edge").engines[0].id

    router.deploy(engines("main", replicas=2, revision="new weights"), OTHER)
    version = router.rollout("engines-main").to_version
    fewest = 2

    def done() -> bool:
        nonlocal fewest
        found = router.listed("engines-main")
        fewest = min(fewest, len(found))
        return len(found) == 2 and all(one["version"] == version for one in found)

    until(done)
    assert fewest == 2
    assert router.settle("engines-main").version == version
    assert router.rollout("engines-main").state == "done"
    assert ids(router, "engines-other") == other
    assert router.application("edge").engines[0].id == edge


def test_a_version_that_does_not_start_is_rolled_back(router: Router) -> None:
    router.deploy(MAIN)
    router.wait_for("engines-main", 2)
    before, version = router.settle("engines-main"), ids(router, "engines-main")
    router.deploy(engines("main", replicas=2, engine_command=BROKEN))
    assert router.rollout("engines-main").state == "in_progress"
    until(lambda: router.rollout("engines-main").state == "rolled_back")
    rollout = router.rollout("engines-main")
    assert "the engine ended with status 1 before it was ready" in rollout.message
    assert rollout.message.splitlines()[-2:][0] == "loading" or "loading" in rollout.message
    assert "no weights for" in rollout.message
    assert "Traceback" not in rollout.message
    assert ids(router, "engines-main") == version
    assert router.settle("engines-main").version == before.version


def test_settings_of_the_edge_and_the_number_of_engines_restart_nothing(router: Router) -> None:
    router.deploy(MAIN)
    router.wait_for("engines-main", 2)
    router.settle("engines-main")
    before = ids(router, "engines-main")
    router.deploy(engines("main", autoscaling={"min": 2, "max": 3}, policy="p2c", max_running=3))

    def model() -> dict[str, object]:
        found: dict[str, object] = router.ask("/fleet")["models"][0]
        return found

    until(lambda: (model()["policy"], model()["max_running"]) == ("p2c", 3))
    status = router.settle("engines-main")
    assert status.autoscaling == (2, 3)
    assert ids(router, "engines-main") == before


def test_a_wrong_configuration_changes_nothing(router: Router) -> None:
    router.deploy(MAIN)
    router.wait_for("engines-main", 2)
    before = ids(router, "engines-main")
    answer = router.deploy(engines("main", replicas=1), engines("other", gpu=2))
    assert answer == {"error": "applications.1.args.gpu: unknown setting"}
    assert router.settle("engines-main").target == 2
    assert ids(router, "engines-main") == before
