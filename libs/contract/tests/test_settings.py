from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest
import yaml
from pydantic import BaseModel, Field, model_validator

from llm_contract.settings import ServiceSettings, load


class Limits(BaseModel):
    requests: int = 8


class Example(ServiceSettings, env_prefix="LLM_EXAMPLE_"):
    port: int = Field(8000, ge=1, le=65535, description="where it listens")
    host_name: str = "localhost"
    fast: bool = False
    cached: bool | None = None
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fast and self.cached:
            raise ValueError("fast and cached exclude each other")
        return self


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "example.yaml"
    path.write_text("port: 1111\nhost_name: from-file\nlimits: {requests: 3}\n")
    return path


def example(*argv: str) -> Example:
    return load(Example, prog="example", argv=argv)


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        example(*argv)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_defaults() -> None:
    expected = {"port": 8000, "host_name": "localhost", "fast": False, "cached": None, "limits": {"requests": 8}}
    assert example().model_dump() == expected


def test_flags_win_over_the_environment_and_that_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_EXAMPLE_PORT", "2222")
    monkeypatch.setenv("LLM_EXAMPLE_HOST_NAME", "from-environment")
    found = example("--config", str(config), "--port", "3333")
    assert (found.port, found.host_name, found.limits.requests) == (3333, "from-environment", 3)


def test_a_second_file_adds_to_the_first(config: Path, tmp_path: Path) -> None:
    second = tmp_path / "secrets.yaml"
    second.write_text("fast: true\nlimits: {requests: 5}\n")
    found = example("--config", str(config), "--config", str(second))
    assert (found.port, found.host_name, found.fast, found.limits.requests) == (1111, "from-file", True, 5)
    assert example("--config", str(second), "--config", str(config)).limits.requests == 3


def test_nested_keys_from_environment_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_EXAMPLE_LIMITS__REQUESTS", "5")
    assert example().limits.requests == 5
    assert example("--limits.requests", "6").limits.requests == 6


def test_a_flag_for_a_boolean() -> None:
    assert example("--fast").fast
    assert example("--cached").cached is True
    assert example("--no-cached").cached is False
    assert not example("--no-fast").fast


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(example(), "port", 1)  # noqa: B010 - the type checker refuses it too


def test_an_unknown_key_in_the_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("prot: 1\n")
    assert refusal(capsys, "--config", str(config)) == "example: prot: unknown setting\n"


def test_an_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--prot" in refusal(capsys, "--prot", "1")


@pytest.mark.parametrize(
    ("value", "message"),
    [("many", "port: Input should be a valid integer"), ("0", "port: Input should be greater than or equal to 1")],
)
def test_a_bad_value_says_where_and_what_is_allowed(
    capsys: pytest.CaptureFixture[str], value: str, message: str
) -> None:
    assert message in refusal(capsys, "--port", value)


def test_settings_that_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    expected = "example: configuration: fast and cached exclude each other\n"
    assert refusal(capsys, "--fast", "--cached") == expected


@pytest.mark.parametrize("text", ["- a\n- b\n", "port: [1\n"])
def test_a_file_that_is_no_mapping(config: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    config.write_text(text)
    assert refusal(capsys, "--config", str(config)).startswith("example: ")


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refusal(capsys, "--config", str(tmp_path / "none.yaml"))


def test_an_empty_file_changes_nothing(config: Path) -> None:
    config.write_text("# nothing\n")
    assert example("--config", str(config)).port == 8000


def test_print_config_shows_the_result_and_can_be_read_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        example("--config", str(config), "--port", "4444", "--print-config")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {
        "port": 4444,
        "host_name": "from-file",
        "fast": False,
        "cached": None,
        "limits": {"requests": 3},
    }
    config.write_text(printed)
    assert example("--config", str(config)).port == 4444
