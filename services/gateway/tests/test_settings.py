from __future__ import annotations

from pathlib import Path

import pytest

from llm_contract.settings import load
from llm_gateway.scheduling.policies import POLICY_NAMES
from llm_gateway.settings import GatewaySettings

TWO = ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]


def settings(*argv: str) -> GatewaySettings:
    return load(GatewaySettings, prog="llm-gateway", argv=argv)


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings(*argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--engines", ",".join(TWO)],
        ["--engines", TWO[0], "--engines", TWO[1]],
        ["--engines", '[{"url": "http://127.0.0.1:8001"}, "http://127.0.0.1:8002/"]'],
    ],
)
def test_engines_from_flags(argv: list[str]) -> None:
    engines = settings(*argv).engines
    assert [engine.url for engine in engines] == TWO
    assert [engine.name for engine in engines] == ["127.0.0.1:8001", "127.0.0.1:8002"]


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_the_policy_from_a_flag(policy: str) -> None:
    assert settings("--engines", TWO[0], "--policy", policy).policy == policy


def test_engines_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_GATEWAY_ENGINES", ",".join(TWO))
    monkeypatch.setenv("LLM_GATEWAY_AGING_RATE", "0.5")
    found = settings()
    assert [engine.url for engine in found.engines] == TWO
    assert found.aging_rate == 0.5


def test_engines_from_a_file_as_urls_and_as_mappings(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"engines:\n- {TWO[0]}\n- url: {TWO[1]}\n  max_in_flight: 3\n  name: b\npolicy: fcfs\n")
    found = settings("--config", str(file))
    assert [(engine.name, engine.max_in_flight) for engine in found.engines] == [("127.0.0.1:8001", 16), ("b", 3)]
    assert found.policy == "fcfs"


def test_the_example_file_is_accepted() -> None:
    example = Path(__file__).parent.parent / "gateway.example.yaml"
    assert settings("--config", str(example)).engines


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "engines: Field required"),
        (["--engines", "localhost"], "not a base URL"),
        (["--engines", TWO[0], "--engines", TWO[0]], "each name must be unique"),
        (["--engines", TWO[0], "--default-class", "bulk"], "default_class 'bulk' is not one of the classes"),
        (["--engines", TWO[0], "--policy", "lifo"], "policy: Input should be 'fcfs', 'priority', 'aging', 'edf'"),
        (["--engines", TWO[0], "--aging-rate", "-1"], "aging_rate"),
        (["--engines", "http://a..b:8000"], "engines.0.url: "),
        (["--engines", TWO[0], "--host", "a..b"], "host: "),
        (["--engines", TWO[0], "--host", "1.2.3.400"], "host: "),
        (["--engines", TWO[0], "--host", "::g"], "host: "),
        (["--engines", TWO[0], "--admin.host", "a..b"], "admin.host: "),
        (["--engines", TWO[0], "--admin.hosts", '["a..b"]'], "admin.hosts.0: "),
        (["--engines", TWO[0], "--fleet.redis-url", "nonsense"], "fleet.redis_url: "),
        (["--engines", TWO[0], "--fleet.redis-url", "redis://:secret@a..b"], "fleet.redis_url: "),
        (["--engines", TWO[0], "--fleet.redis-url", "redis://:secret@a:99999999"], "fleet.redis_url: "),
        (["--engines", TWO[0], "--fleet.redis-url", "redis://[::1"], "fleet.redis_url: "),
        (["--engines", '{"url": "http://x", "weight": 2}'], "engines.0.weight: unknown setting"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    said = refusal(capsys, *argv)
    assert message in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"engines: [{TWO[0]}]\nmax_quue: 3\n")
    assert "max_quue: unknown setting" in refusal(capsys, "--config", str(file))
