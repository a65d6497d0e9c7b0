"""The collector's configuration, as far as it can be checked without a collector.

No collector runs in these tests. FIELDS names the keys that the file uses of each component's documented settings, so a
misspelt or misplaced key fails; the pipelines, the order of processors and the addresses are checked as well.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from aiohttp import web

from llm_deploy.paths import ROOT
from llm_monitor.web.traces import ATTRIBUTES, CONTENT_TYPE, Traces

FILE = ROOT / "deploy" / "observability" / "otel" / "collector.yaml"
ANY: dict[str, Any] = {}
"""A scalar or a list: its keys are not checked."""
FIELDS: dict[str, dict[str, Any]] = {
    "otlp receiver": {"protocols": {"http": {"endpoint": ANY}, "grpc": {"endpoint": ANY}}},
    "memory_limiter": {"check_interval": ANY, "limit_mib": ANY, "spike_limit_mib": ANY},
    "attributes": {"actions": ANY},
    "tail_sampling": {"decision_wait": ANY, "num_traces": ANY, "expected_new_traces_per_sec": ANY, "policies": ANY},
    "batch": {"send_batch_size": ANY, "timeout": ANY},
    "otlphttp": {
        "traces_endpoint": ANY,
        "encoding": ANY,
        "auth": {"authenticator": ANY},
        "sending_queue": {"enabled": ANY, "queue_size": ANY},
        "retry_on_failure": {"enabled": ANY, "max_elapsed_time": ANY},
    },
    "otlp exporter": {"endpoint": ANY, "tls": {"insecure": ANY}},
    "bearertokenauth": {"filename": ANY},
    "health_check": {"endpoint": ANY},
}
POLICY_FIELDS = {
    "status_code": {"status_codes"},
    "latency": {"threshold_ms"},
    "probabilistic": {"sampling_percentage"},
    "ottl_condition": {"error_mode", "span"},
}
CONTENT = (
    *("gen_ai.prompt", "gen_ai.completion", "gen_ai.input.messages", "gen_ai.output.messages"),
    *("gen_ai.system_instructions", "llm.prompts.0.content", "llm.completions.0.content", "traceloop.entity.input"),
)
"""Attributes in which OpenTelemetry's conventions, of today and before, and OpenLLMetry put text."""


@pytest.fixture(scope="module")
def collector() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def unknown_fields(given: Any, known: dict[str, Any], where: str) -> list[str]:
    if not known or not isinstance(given, dict):
        return []
    wrong = [f"{where}.{key}" for key in given if key not in known]
    return wrong + [name for key in given.keys() & known for name in unknown_fields(given[key], known[key], key)]


def kind(section: str, name: str) -> str:
    component = name.partition("/")[0]
    return f"{component} {section[:-1]}" if component == "otlp" else component


def test_every_key_is_one_of_its_component(collector: dict[str, Any]) -> None:
    assert set(collector) == {"receivers", "processors", "exporters", "extensions", "service"}
    for section in ("receivers", "processors", "exporters", "extensions"):
        for name, settings in collector[section].items():
            assert unknown_fields(settings, FIELDS[kind(section, name)], name) == []


def test_a_misspelt_key_is_found() -> None:
    assert unknown_fields({"timeout": "1s", "batch_size": 1}, FIELDS["batch"], "batch") == ["batch.batch_size"]


def test_all_components_are_used_and_all_used_ones_are_defined(collector: dict[str, Any]) -> None:
    service = collector["service"]
    for section in ("receivers", "processors", "exporters"):
        used = {name for pipeline in service["pipelines"].values() for name in pipeline[section]}
        assert used == set(collector[section])
    assert set(service["extensions"]) == set(collector["extensions"])
    assert collector["exporters"]["otlphttp/monitor"]["auth"]["authenticator"] in collector["extensions"]


def test_text_is_dropped_before_it_is_buffered_and_batches_come_last(collector: dict[str, Any]) -> None:
    order = collector["service"]["pipelines"]["traces"]["processors"]
    assert order == ["memory_limiter", "attributes/no-content", "tail_sampling", "batch"]


@pytest.mark.parametrize("attribute", CONTENT)
def test_attributes_with_text_are_dropped(collector: dict[str, Any], attribute: str) -> None:
    actions = collector["processors"]["attributes/no-content"]["actions"]
    assert {action["action"] for action in actions} == {"delete"}
    assert any(
        action.get("key") == attribute or ("pattern" in action and re.search(action["pattern"], attribute))
        for action in actions
    )


def test_no_attribute_that_the_monitor_shows_is_dropped(collector: dict[str, Any]) -> None:
    actions = collector["processors"]["attributes/no-content"]["actions"]
    dropped = {action["key"] for action in actions if "key" in action}
    patterns = [action["pattern"] for action in actions if "pattern" in action]
    assert not dropped & ATTRIBUTES
    assert not [name for name in ATTRIBUTES for pattern in patterns if re.search(pattern, name)]


def test_errors_and_slow_traces_are_kept_and_a_tenth_of_the_rest(collector: dict[str, Any]) -> None:
    policies = collector["processors"]["tail_sampling"]["policies"]
    for policy in policies:
        assert set(policy) == {"name", "type", policy["type"]}
        assert set(policy[policy["type"]]) == POLICY_FIELDS[policy["type"]]
    by_type = {policy["type"]: policy[policy["type"]] for policy in policies}
    assert by_type["status_code"] == {"status_codes": ["ERROR"]}
    assert by_type["probabilistic"] == {"sampling_percentage": 10}
    assert by_type["latency"]["threshold_ms"] > 0
    assert "error.type" in by_type["ottl_condition"]["span"][0], "the attribute that our services set"


def test_the_monitor_takes_what_the_collector_sends(collector: dict[str, Any]) -> None:
    exporter = collector["exporters"]["otlphttp/monitor"]
    url = urlsplit(exporter["traces_endpoint"])
    assert (url.hostname, url.port) == ("monitor", 9600)
    assert (exporter["encoding"], CONTENT_TYPE) == ("proto", "application/x-protobuf")
    app = web.Application()
    Traces().add_routes(app)
    assert url.path in {resource.canonical for resource in app.router.resources()}
