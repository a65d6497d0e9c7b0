"""Expectations in pages, changes that are undone, and the comparison of both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support_deployment import GOOD, FakeDeployment, serving

from llm_deploy.drills import game_day
from llm_deploy.drills.expectation import Expectation, Written, read
from llm_deploy.drills.faults import FAULTS, Fault, Injected, last_engine
from llm_deploy.drills.key import rewritten
from llm_deploy.errors import DeployError, UsageError

PAGE = '# A page\n\n```yaml title="./lab drill kill-engine"\nalert: TargetDown\nwithin: 5\n```\n'


def test_the_expectation_is_read_from_the_page(tmp_path: Path) -> None:
    (tmp_path / "TargetDown.md").write_text(PAGE)
    assert read(tmp_path)["kill-engine"].expectation == Expectation(alert="TargetDown", within=5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PAGE.replace("within: 5", "witin: 5"), "witin"),
        (PAGE.replace("within: 5", "within: 0"), "within"),
        (PAGE.replace("within: 5", "within: [5"), "kill-engine is wrong"),
        (PAGE + PAGE, "has its expectation in"),
    ],
)
def test_a_wrong_expectation_names_page_and_drill(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "TargetDown.md").write_text(text)
    with pytest.raises(UsageError, match=line):
        read(tmp_path)


def test_each_drill_of_the_pages_exists() -> None:
    assert set(read()) == set(FAULTS)


def test_a_file_is_restored_in_place_after_an_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1\n")
    inode = path.stat().st_ino

    def interrupted() -> None:
        with rewritten(path, "b: 2\n"):
            assert path.read_text() == "b: 2\n"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path.read_text(), path.stat().st_ino) == ("a: 1\n", inode)


def test_a_single_engine_is_not_disturbed() -> None:
    with pytest.raises(DeployError, match="one engine of several"):
        last_engine(FakeDeployment([GOOD]))  # type: ignore[arg-type]


class World:
    """A gateway that always answers, and a monitor whose alert fires while the fault lasts, if `alerts`."""

    def __init__(self, *, alerts: bool) -> None:
        self.broken, self.undone, self._alerts = False, False, alerts

    def handle(self, path: str, key: str, body: bytes) -> tuple[int, Any]:
        if path.startswith("/api/v1/alerts"):
            firing = [{"labels": {"alertname": "TargetDown", "instance": "engine-1"}, "state": "firing"}]
            return 200, {"data": {"alerts": firing if self.broken and self._alerts else []}}
        if path.startswith("/api/v1/query"):
            return 200, {"data": {"result": [{"metric": {}, "value": [0, "1"]}] if self.broken else []}}
        return 200, {}

    @contextmanager
    def inject(self, _: object) -> Iterator[Injected]:
        self.broken = True
        try:
            yield Injected({"key": lambda: 401})
        finally:
            self.broken, self.undone = False, True


def hold(world: World, expectation: Expectation) -> game_day.Outcome:
    with serving(world.handle) as url:
        deployment = FakeDeployment([GOOD], {("gateway", 8080): url, ("monitor", 9600): url})
        written = Written("kill-engine", Path("TargetDown.md"), expectation)
        return game_day.hold(written, Fault("breaks", world.inject), deployment, say=lambda _: None)  # type: ignore[arg-type]


def test_a_drill_agrees_if_everything_is_seen() -> None:
    world = World(alerts=True)
    expected = Expectation(alert="TargetDown", within=5, metrics=("up == 0",), observed={"key": 401})
    outcome = hold(world, expected)
    assert outcome.agrees, outcome.rows
    assert world.undone


@pytest.mark.parametrize(
    ("expectation", "row"),
    [
        (Expectation(alert="TargetDown", within=0.5), "alert TargetDown"),
        (Expectation(within=0.5, observed={"key": 200}), "key"),
        (Expectation(within=0.5, clients=(401,)), "other clients got"),
    ],
)
def test_a_drill_disagrees_and_the_fault_is_undone(expectation: Expectation, row: str) -> None:
    world = World(alerts=False)
    outcome = hold(world, expectation)
    assert [each.what for each in outcome.rows if not each.agrees] == [row]
    assert not outcome.agrees
    assert world.undone


@pytest.mark.parametrize(
    ("expectation", "line"),
    [
        (Expectation(alert="TargetDown"), "TargetDown fires before the drill"),
        (Expectation(metrics=("gateway_fleet_degraded == 1",)), "`gateway_fleet_degraded == 1` holds before the drill"),
    ],
)
def test_what_is_seen_before_the_fault_ends_the_drill(
    expectation: Expectation, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(game_day, "QUIET_SECONDS", 0.1)
    world = World(alerts=expectation.alert is not None)
    world.broken = True
    with pytest.raises(DeployError, match=f"^{line}"):
        hold(world, expectation)
    assert not world.undone
