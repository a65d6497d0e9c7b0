"""From an operator's file to Serve's: what restarts, what does not, and the way back."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from llm_router.control.names import EDGE, ENGINES
from llm_router.control.rollouts.plan import (
    InvalidConfig,
    checked,
    edge_config,
    plan,
    rolled_back,
    scaled,
    settled,
    version,
)
from llm_router.settings import EnginesSettings

Entries = dict[str, dict[str, Any]]
COMMAND = "engine --port {port}"


def engines(name: str = "a", model: str = "m", **args: Any) -> dict[str, Any]:
    command = {"model": model, "engine_command": COMMAND}
    return {"name": name, "route_prefix": None, "import_path": ENGINES, "args": {**command, **args}}


def edge(**args: Any) -> dict[str, Any]:
    return {"name": "edge", "route_prefix": None, "import_path": EDGE, "args": args}


def config(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"proxy_location": "Disabled", "applications": [*entries, edge()]}


def always(settings: EnginesSettings) -> int:
    return 100


def deployed(planned: dict[str, Any]) -> Entries:
    """Return the entries as the controller would give them back."""
    return {entry["name"]: deepcopy(entry) for entry in planned["applications"]}


def first(*entries: dict[str, Any], now: float = 1) -> Entries:
    return deployed(plan(config(*entries), {}, surge=always, now=now))


def scaling(entry: dict[str, Any]) -> tuple[int, int]:
    found = entry["deployments"][0]["autoscaling_config"]
    return found["min_replicas"], found["max_replicas"]


def test_settings_of_edge_and_controller_leave_the_args_alone() -> None:
    before = first(engines(replicas=2))["a"]
    after = first(engines(replicas=3, policy="p2c", max_running=2, queue=9, resume=False, surge=False))["a"]
    assert before["args"] == after["args"] == {"model": "m", "engine_command": COMMAND}
    assert version(before) == version(after)
    assert (scaling(before), scaling(after)) == ((2, 2), (3, 3))


@pytest.mark.parametrize(
    "change", [{"gpus": 2}, {"revision": "b"}, {"engine_command": "other {port}"}, {"progress_timeout": 5}]
)
def test_settings_of_the_engine_change_the_version(change: dict[str, Any]) -> None:
    assert version(first(engines())["a"]) != version(first(engines(**change))["a"])


def test_the_edge_gets_the_settings_of_all_models() -> None:
    entries = first(engines(policy="p2c"), engines("b", "n", max_running=3))
    found = {model.name: model for model in edge_config(entries).models}
    assert (found["m"].policy, found["m"].max_running) == ("p2c", 256)
    assert (found["n"].policy, found["n"].max_running) == ("prefix", 3)


def test_a_model_that_serve_deploy_brought_is_known_from_its_args() -> None:
    entries = {entry["name"]: entry for entry in config(engines(policy="session"))["applications"]}
    assert [(model.name, model.policy) for model in edge_config(entries).models] == [("m", "session")]


def test_an_application_whose_args_are_wrong_is_left_out() -> None:
    entries = {entry["name"]: entry for entry in config(engines(gpu=1))["applications"]}
    assert edge_config(entries).models == ()


def test_only_what_changes_has_a_rollout() -> None:
    before = first(engines(), engines("b", "n"))
    after = plan(config(engines(revision="2"), engines("b", "n", replicas=5)), before, surge=always, now=2)
    records = {one.application: one for one in edge_config(deployed(after)).rollouts}
    assert records["a"].from_version == version(before["a"])
    assert records["a"].started == 2
    assert records["a"].former == before["a"]
    assert (records["b"].started, records["edge"].started) == (1, 1)


def test_back_to_the_former_entry_once() -> None:
    before = first(engines(replicas=2))
    after = deployed(plan(config(engines(revision="2", replicas=3)), before, surge=always, now=2))
    back = rolled_back(after, "a", message="no weights", now=3)
    assert back is not None
    entries = deployed(back)
    assert entries["a"] == before["a"]
    record = next(one for one in edge_config(entries).rollouts if one.application == "a")
    assert (record.rolled_back, record.message, record.ended, record.former) == (True, "no weights", 3, None)
    assert rolled_back(entries, "a", message="again", now=4) is None


def test_an_edge_goes_back_and_keeps_the_models() -> None:
    before = first(engines())
    changed = {"applications": [engines(), edge(port=9)]}
    after = deployed(plan(changed, before, surge=always, now=2))
    back = rolled_back(after, "edge", message="port taken", now=3)
    assert back is not None
    entries = deployed(back)
    assert entries["edge"]["args"] == {}
    assert [model.name for model in edge_config(entries).models] == ["m"]


def test_records_do_not_contain_each_other() -> None:
    entries = first(engines())
    for number in range(5):
        changed = {"applications": [engines(revision=str(number)), edge(port=number + 1)]}
        entries = deployed(plan(changed, entries, surge=always, now=number))
    assert "rollouts" not in str([record.former for record in edge_config(entries).rollouts])


def test_a_first_version_has_nothing_to_go_back_to() -> None:
    assert rolled_back(first(engines()), "a", message="", now=2) is None


def test_a_rollout_that_has_settled_is_not_rolled_back_later() -> None:
    before = first(engines())
    after = deployed(plan(config(engines(revision="2")), before, surge=always, now=2))
    done = settled(after, {"a"}, now=3)
    assert done is not None
    entries = deployed(done)
    assert rolled_back(entries, "a", message="", now=4) is None
    assert entries["a"] == after["a"]
    assert {one.application: one.ended for one in edge_config(entries).rollouts} == {"a": 3, "edge": None}
    assert settled(entries, {"a"}, now=5) is None


def test_scaling_changes_the_bounds_and_nothing_else() -> None:
    before = first(engines(autoscaling={"max": 4}), engines("b", "n"))
    after = deployed(scaled(before, "m", 3))
    assert scaling(after["a"]) == (3, 3)
    assert after["a"]["args"] == before["a"]["args"]
    assert after["a"]["deployments"][0]["max_surge_percent"] == 100
    assert after["b"] == before["b"]
    assert after["edge"] == before["edge"]


def test_scaling_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(InvalidConfig, match="model x is not served; the models are m"):
        scaled(first(engines()), "x", 1)


@pytest.mark.parametrize(
    ("applications", "message"),
    [
        (None, "applications: a list"),
        ([engines(), edge(), 3], "applications: a list"),
        ([engines()], "0 have the import_path"),
        ([engines(), edge(), {**edge(), "name": "edge2"}], "2 have the import_path"),
        ([engines(gpu=1), edge()], "applications.0.args.gpu: unknown setting"),
        ([engines(autoscaling={"max": 2, "maxx": 1}), edge()], "applications.0.args.autoscaling.maxx: unknown setting"),
        ([engines(replicas=1, autoscaling={"max": 2}), edge()], "applications.0.args: replicas and autoscaling"),
        ([edge(port=1, admin_port=1)], "applications.0.args: port and admin_port are both 1"),
        ([edge(prot=1)], "applications.0.args.prot: unknown setting"),
        ([engines(), engines(), edge()], "applications.1.name: a appears more than once"),
        ([engines(), engines("b"), edge()], "m is the model of more than one application"),
        ([{**engines(), "deployments": [{"name": "Engine"}]}, edge()], "applications.0.deployments: not allowed"),
    ],
)
def test_a_wrong_file_is_refused_whole(applications: Any, message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        checked({"applications": applications})
    assert message in str(refused.value)


def test_the_plan_leaves_the_operators_configuration_alone() -> None:
    given = config(engines(replicas=2))
    before = deepcopy(given)
    plan(given, {}, surge=always, now=1)
    assert given == before
