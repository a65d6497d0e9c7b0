"""`llm-router serve`: flags and file make the same configuration, and wrong ones end it with a line."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_router.cli import main
from llm_router.control.rollouts.plan import checked


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    main(["serve", *argv, "--print-config"])
    found: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *argv])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_flags_make_a_file_that_makes_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = printed(capsys, "models/main", "--replicas", "4", "--policy", "p2c", "--port", "9000", "--surge", "true")
    engines, edge = config["applications"]
    assert engines["args"]["model"] == "main"
    assert (engines["args"]["replicas"], engines["args"]["policy"], engines["args"]["surge"]) == (4, "p2c", "true")
    assert edge["args"] == {"port": 9000}
    file = tmp_path / "router.yaml"
    file.write_text(yaml.safe_dump(config))
    assert printed(capsys, "--config", str(file)) == config


def test_our_engine_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    (settings,) = checked(printed(capsys, "models/main")).values()
    command = settings.engine_command
    assert command == "{python} -m llm_engine serve models/main --served-model-name {model} --port {port}"


def test_any_engine_by_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["Qwen/Qwen3-8B", "--engine-command", "vllm serve Qwen/Qwen3-8B --port {port}", "--model", "qwen"]
    (settings,) = checked(printed(capsys, *argv)).values()
    assert settings.model == "qwen"
    assert settings.engine_command.startswith("vllm serve")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: PATH"),
        (["m", "--replica", "2"], "--replica"),
        (["m", "--policy", "lifo"], "policy"),
        (["m", "--replicas", "2", "--autoscaling.max", "3"], "replicas and autoscaling contradict each other"),
        (["--config", "/no/such/file.yaml"], "No such file"),
        (["--config"], ""),
    ],
)
def test_wrong_flags(capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert message in refused(capsys, *argv)


def test_an_unknown_key_in_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    config = printed(capsys, "models/main")
    config["applications"][0]["args"]["replica"] = 2
    file.write_text(yaml.safe_dump(config))
    assert refused(capsys, "--config", str(file)) == (
        "llm-router serve: applications.0.args.replica: unknown setting\n"
    )


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in refused(capsys, "m", "--port", str(port))
