"""The args of the applications: what is refused, and where the message says it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from llm_router.control.edge.settings import EdgeAppSettings
from llm_router.settings import EnginesSettings

COMMAND = "engine --port {port}"


def settings(**args: Any) -> EnginesSettings:
    return EnginesSettings(**{"model": "m", "engine_command": COMMAND, **args})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"replica": 2}, "Extra inputs are not permitted"),
        ({"replicas": 2, "autoscaling": {"max": 3}}, "replicas and autoscaling contradict each other"),
        ({"replicas": 0}, "greater than or equal to 1"),
        ({"autoscaling": {"min": 3, "max": 2}}, "min is 3 and max is 2"),
        ({"autoscaling": {"max": 2, "target": 1000}}, "autoscaling.target is 1000, but max_running + queue is 512"),
        ({"gpus": 1.5}, "gpus is 1.5; a number above 1 must be whole"),
        ({"gpus": 0.5, "tensor_parallel": 2}, "tensor_parallel is 2, so gpus must be 1"),
        ({"gpus": -1}, "greater than or equal to 0"),
        ({"policy": "random"}, "Input should be 'prefix', 'least_loaded'"),
        ({"surge": "maybe"}, "Input should be 'auto', 'true' or 'false'"),
        ({"engine_command": "engine"}, "the engine must listen on {port}"),
        ({"engine_command": "engine {port} {gpu}"}, "unknown placeholder {gpu}"),
        ({"engine_command": "engine {port} {"}, "write a literal brace twice"),
        ({"model": ""}, "at least 1 character"),
        ({"model": "a b"}, "should match pattern"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**args)
    assert message in str(refused.value)


@pytest.mark.parametrize(("given", "kept"), [(True, "true"), (False, "false"), ("auto", "auto")])
def test_surge_is_a_boolean_in_yaml_or_auto(given: Any, kept: str) -> None:
    assert settings(surge=given).surge == kept


def test_defaults_do_not_change_the_version() -> None:
    assert settings().version == settings(gpus=1, drain_timeout=60).version
    assert len(settings().version) == 8


def test_a_json_command_with_doubled_braces_is_allowed() -> None:
    assert settings(engine_command="engine --port {port} --config '{{\"a\": 1}}'")


@pytest.mark.parametrize(
    ("args", "bounds"), [({}, (1, 1)), ({"replicas": 3}, (3, 3)), ({"autoscaling": {"min": 0, "max": 4}}, (0, 4))]
)
def test_bounds(args: dict[str, Any], bounds: tuple[int, int]) -> None:
    assert settings(**args).bounds == bounds


def test_two_ports_of_an_edge_differ() -> None:
    with pytest.raises(ValidationError, match="port and admin_port are both 8001"):
        EdgeAppSettings(port=8001)
    assert EdgeAppSettings(port=0, admin_port=0)


def test_the_example_file_is_accepted() -> None:
    example = yaml.safe_load((Path(__file__).parent.parent / "router.example.yaml").read_text(encoding="utf-8"))
    engines, edge = example["applications"]
    assert EnginesSettings(**engines["args"]).model == "main"
    assert EdgeAppSettings(**edge["args"]).port == 8000
