from __future__ import annotations

import pytest

from llm_deploy.compose.stack import FOLDER, published, stack_of
from llm_deploy.errors import UsageError
from llm_deploy.paths import ROOT


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_URL", "GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_name_it_is_the_whole() -> None:
    stack = stack_of(None, ["cpu", "observability"])
    words = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), "--profile", "observability", "up"]
    assert stack.command("up") == words
    assert not stack.job


def test_a_capstone_has_its_file_and_a_job_ends() -> None:
    assert stack_of("gateway").file == FOLDER / "gateway.yaml"
    assert stack_of("quantize").job == "quantize"


def test_a_gpu_is_vllm_as_an_image_or_a_server_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    image = stack_of(None, ["gpu"])
    assert (image.profiles, image.environment()["VLLM_URL"]) == (("gpu",), "http://vllm:8000")
    monkeypatch.setenv("VLLM_URL", "http://gpu-host:8000")
    server = stack_of(None, ["gpu"])
    assert (server.profiles, server.environment()["VLLM_URL"]) == ((), "http://gpu-host:8000")


def test_jaeger_takes_the_spans_through_the_collector() -> None:
    assert stack_of(None, ["jaeger"]).variables == {"OTLP_ENDPOINT": "http://otel-collector:4318/v1/traces"}


@pytest.mark.parametrize(
    ("capstone", "profiles", "says"),
    [
        ("gatewy", [], "there is no capstone gatewy for Compose; there are engine, gateway"),
        (None, ["prometheus"], "there is no profile prometheus; there are cpu, gpu, observability"),
        ("gateway", ["load"], "profiles are of the whole stack; leave out gateway"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(capstone: str | None, profiles: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        stack_of(capstone, profiles)


def test_a_port_is_known_by_the_variable_that_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "9999")
    variables = stack_of(None).port_variables()
    assert (variables[9999, 8080], variables[9090, 9090]) == ("GATEWAY_PORT", "PROMETHEUS_PORT")


def test_published_ports_are_listed_by_service() -> None:
    model = {"services": {"b": {"ports": [{"published": "81", "target": 80}]}, "a": {}}}
    assert list(published(model)) == [("b", 81, 80)]
