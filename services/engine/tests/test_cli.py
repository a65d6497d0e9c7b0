"""The program as its users start it: a process, its streams and its exit status."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from queue import Queue

import httpx2
import pytest
import yaml

from llm_engine.cli import ServeFlags, ServeSettings, main
from llm_engine.errors import ModelError
from llm_engine.settings import EngineConfig, ServerConfig, markdown_table

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llm_engine", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def served(models: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its URL, read from the line it prints when it is ready."""
    command = [sys.executable, "-m", "llm_engine", "serve", str(models / "zoo" / "llama"), "--port", "0"]
    flags = ["--served-model-name", "tiny", "--num-gpu-blocks-override", "256", "--scheduling-policy", "priority"]
    process = subprocess.Popen([*command, *flags], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "serving tiny on http://127.0.0.1:" in line
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait(30)


def test_sigterm_lets_a_stream_finish_and_then_exits_well(served: tuple[subprocess.Popen[str], str]) -> None:
    process, url = served
    lines: Queue[str] = Queue()

    def stream() -> None:
        body = {"prompt": "import os", "max_tokens": 300, "ignore_eos": True, "stream": True}
        with httpx2.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
            for line in response.iter_lines():
                lines.put(line)

    thread = threading.Thread(target=stream)
    thread.start()
    received = [lines.get(timeout=30)]
    process.send_signal(signal.SIGTERM)
    thread.join(60)
    received += [lines.get_nowait() for _ in range(lines.qsize())]
    events = [line for line in received if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert process.wait(30) == 0


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    result = run("serve", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == f"llm-engine: {tmp_path} is no model folder: it has no config.json\n"


def serve(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run `serve`. Return the exit status and the text on standard error."""
    status = main(["serve", *arguments])
    return status, capsys.readouterr().err


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    """A model that a test can break."""
    return Path(shutil.copytree(models / "zoo" / "llama", tmp_path / "model"))


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BROKEN: dict[str, tuple[dict[str, object], list[str], str]] = {
    "family": ({"model_type": "gpt2"}, [], "model_type 'gpt2' is not supported"),
    "quantization": ({"quantization_config": {"quant_method": "x"}}, [], "quantization 'x' is not supported"),
    "shape": ({"vocab_size": 5000}, [], "has shape (4096, 64), but config.json asks for (5000, 64)"),
    "memory": ({}, ["--num-gpu-blocks-override", "999999999"], "lower --num-gpu-blocks-override"),
    "cache": ({}, ["--num-gpu-blocks-override", "2"], "lower --max-model-len"),
    "flag": ({}, ["--quantization", "awq"], "--quantization is awq, but the checkpoint has unquantized weights"),
    "trace": ({}, ["--trace", "/no/such/folder/trace"], "the trace cannot be written to /no/such/folder/trace"),
    "value": ({"hidden_size": "wide"}, [], "--debug shows where"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_served_is_one_line_and_status_1(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    changes, flags, message = BROKEN[name]
    change_config(folder, **changes)
    status, error = serve(capsys, str(folder), *flags)
    assert status == 1
    assert error.startswith("llm-engine: ")
    assert message in error
    assert error.count("\n") == 1


def test_debug_shows_where(folder: Path) -> None:
    change_config(folder, model_type="gpt2")
    with pytest.raises(ModelError):
        main(["serve", str(folder), "--debug"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "model: Field required"),
        (["serve", "m", "--no-such-flag", "1"], "no-such-flag"),
        (["serve", "m", "--port", "99999"], "port"),
        (["serve", "m", "--dtype", "float8"], "dtype"),
        (["serve", "m", "--max-num-seqs", "0"], "max_num_seqs is 0; it must be at least 1"),
        (["serve", "m", "--shutdown-timeout", "0"], "shutdown_timeout is 0.0; it must be above 0"),
        (["dance"], "unknown command 'dance'"),
    ],
)
def test_wrong_commands_end_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as exit:
        status = int(exit.code or 0)
    assert status == 2
    assert message in capsys.readouterr().err


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine.yaml").write_text("model: from-file\nblock_size: 8\nport: 1\nseed: 3\n")
    monkeypatch.setenv("LLM_ENGINE_PORT", "2")
    monkeypatch.setenv("LLM_ENGINE_SEED", "4")
    with pytest.raises(SystemExit) as exit:
        main(["serve", "--config", str(tmp_path / "engine.yaml"), "--seed", "5", "--print-config"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert all(line in shown for line in ("model: from-file\n", "block_size: 8\n", "port: 2\n", "seed: 5\n"))


def printed_config(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, object]:
    with pytest.raises(SystemExit) as exit:
        main(["serve", "m", *flags, "--print-config"])
    assert exit.value.code == 0
    shown: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
    return shown


@pytest.mark.parametrize("name", ["enable_prefix_caching", "async_scheduling"])
def test_a_switch_has_a_flag_and_its_opposite(capsys: pytest.CaptureFixture[str], name: str) -> None:
    flag = name.replace("_", "-")
    assert printed_config(capsys, f"--{flag}")[name] is True
    assert printed_config(capsys, f"--no-{flag}")[name] is False


def settings_of(**values: str) -> ServeFlags:
    return ServeSettings.model_validate({"model": "m", **values})


def test_every_setting_is_a_flag_with_its_default_and_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed_config(capsys)
    assert settings_of().part(EngineConfig) == EngineConfig("m")
    assert settings_of().part(ServerConfig) == ServerConfig()
    for config in (EngineConfig, ServerConfig):
        for each in fields(config):
            assert ServeSettings.model_fields[each.name].description == each.metadata["description"]
            assert shown.pop(each.name) == ("m" if each.name == "model" else each.default)
    assert not shown


def test_a_key_reaches_the_server_and_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_of(api_key="hush").part(ServerConfig).api_key == "hush"
    assert "hush" not in str(printed_config(capsys, "--api-key", "hush"))


def test_the_table_of_the_readme_has_every_flag() -> None:
    table = list(markdown_table())
    assert "| `--block-size` | 16 | tokens in one KV block |" in table
    assert len(table) == 2 + len(ServeSettings.model_fields) - len(["model"])


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    assert "serve MODEL" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("flags", [["--api-key", ""], []])
def test_an_empty_key_is_refused_and_does_not_open_the_server(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not flags:
        monkeypatch.setenv("LLM_ENGINE_API_KEY", "")
    with pytest.raises(SystemExit) as raised:
        main(["serve", "models/main", *flags])
    assert raised.value.code == 2
    assert "api_key" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["localhost:4318", "ftp://localhost/v1/traces", "http://", "http://h:99999/"])
def test_a_receiver_of_spans_that_is_no_url_is_one_clear_line(wrong: str) -> None:
    result = run("serve", "model", "--otlp-traces-endpoint", wrong)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "otlp_traces_endpoint" in result.stderr
    assert "http://127.0.0.1:4318/v1/traces" in result.stderr


def test_an_unknown_log_format_is_one_clear_line() -> None:
    result = run("serve", "model", "--log-format", "xml")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "'text' or 'json'" in result.stderr


def test_without_tracing_opentelemetrys_sdk_is_not_imported() -> None:
    # FastAPI imports the API by itself; it does nothing without the SDK.
    program = "import sys, llm_engine.server.app; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, check=False).returncode == 0
