"""First use of the command line, and Ctrl-C at any moment."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

import llm_bench.__main__  # what the processes below run
from llm_bench import __version__
from llm_bench.cli import DEFAULT_SCENARIO, main
from llm_bench.results.result import read_result
from llm_bench.workload.scenario import load_scenario
from llm_contract import sse
from llm_contract.testing import Script, ScriptedEngine

SOURCES = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
"""Absolute, for the processes run in folders of their own."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCES, "COLUMNS": "80"}
SCENARIO = """\
name: nine
duration: 30
drain: 5
arrivals: {kind: constant, rate: 20}
classes:
  only:
    weight: 1
    prompt_tokens: {kind: fixed, tokens: 9}
    output_tokens: {kind: fixed, tokens: 9}
"""


async def start(folder: Path, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llm_bench", *arguments, cwd=folder, env={**ENVIRONMENT, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode(), errors.decode()


async def test_a_target_is_all_that_run_needs(tmp_path: Path) -> None:
    async with ScriptedEngine(Script(ttft=0.02)) as engine:
        process = await start(tmp_path, "run", "--target", engine.url, "--duration", "2", "--quiet")
        quiet = await end(process)
        process = await start(tmp_path, "run", "--target", engine.url, "--duration", "2")
        status, out, errors = await end(process)

    assert status == 0, errors
    folders = sorted((tmp_path / "out" / "bench").iterdir())
    assert [re.sub(r"\d", "0", folder.name)[:20] for folder in folders] == ["0000-00-00T00-00-00Z"] * 2
    assert quiet[:2] == (0, f"Results: {folders[0].relative_to(tmp_path)}\n")
    assert out.splitlines()[-1] == f"Results: {folders[1].relative_to(tmp_path)}"
    result = read_result(folders[1])
    every = result.summary.classes["all"]
    assert (result.run.model, result.scenario.name, every.completed) == ("scripted", "default", 4)
    assert every.requests_per_second == pytest.approx(4 / result.summary.seconds)
    assert every.prompt_tokens_per_second == pytest.approx(every.prompt_tokens / result.summary.seconds)
    for column in ("Requests", "Failed", "Rejected", "/s", "Tokens/s", "in", "out", "E2E", "TTFT", "VALID"):
        assert column in out
    assert max(map(len, out.splitlines()[:12])) <= 80


def test_the_default_scenario_is_small_and_ships_with_the_package() -> None:
    scenario = load_scenario(DEFAULT_SCENARIO)

    assert DEFAULT_SCENARIO.parent == Path(llm_bench.__main__.__file__ or "").parent
    assert scenario.longest_request() <= 256
    assert scenario.duration <= 30


@pytest.mark.parametrize("place", ["first", "last"])
async def test_a_scenario_stands_before_or_behind_the_options(tmp_path: Path, place: str) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO)
    async with ScriptedEngine(Script()) as engine:
        options = ["--target", engine.url, "--duration", "0.2", "--quiet", "--out", "o"]
        arguments = ["s.yaml", *options] if place == "first" else [*options, "s.yaml"]
        status, _, errors = await end(await start(tmp_path, "run", *arguments))

    assert status == 0, errors
    assert read_result(tmp_path / "o").scenario.name == "nine"


def test_without_a_command_the_commands_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    printed = capsys.readouterr().out
    for command in ("run", "compare", "replay", "sweep", "saturate", "capacity", "report", "schema"):
        assert re.search(rf"^ +{command} +\w+", printed, re.MULTILINE), command
    assert "worker" not in printed
    assert "run --target http://" in printed


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])

    assert (raised.value.code, capsys.readouterr().out) == (0, f"llm-bench {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run --rate abc", "argument --rate: must be a number above 0, not 'abc'"),
        ("run --rate nan", "must be a number above 0, not 'nan'"),
        ("run --rate-scale x", "argument --rate-scale: must be a number above 0, not 'x'"),
        ("run --duration soon", "argument --duration: must be a number above 0, not 'soon'"),
        ("run --repeat 1.5", "argument --repeat: must be a whole number of 1 or more, not '1.5'"),
        ("run --workers many", "argument --workers: must be a whole number of 1 or more, not 'many'"),
        ("run --seed -1", "argument --seed: must be a whole number of 0 or more, not '-1'"),
        ("sweep --rates 1,x", "argument --rates: must be numbers above 0 with commas, such as 2,4,8, not '1,x'"),
        ("sweep --rates ,", "such as 2,4,8, not ','"),
        ("saturate --goal all", "argument --goal: must be a share above 0 and at most 1, such as 0.99, not 'all'"),
        ("saturate --precision x", "argument --precision: must be a number above 0, not 'x'"),
        ("saturate --repeat two", "must be a whole number of 1 or more, not 'two'"),
        ("capacity --users few", "argument --users: must be a whole number of 1 or more, not 'few'"),
        ("compare s.yaml u v --pairs x", "argument --pairs: must be a whole number of 2 or more"),
        ("replay t --speed fast", "argument --speed: must be a number above 0, not 'fast'"),
        ("run", "the following arguments are required: --target"),
        ("run s.yaml --target u --speed 3", "unrecognized arguments: --speed 3"),
        ("run a.yaml b.yaml --target u", "unrecognized arguments: b.yaml"),
        ("walk", "invalid choice: 'walk'"),
    ],
)
def test_a_wrong_argument_is_told_what_is_wanted(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments.split())

    errors = capsys.readouterr().err
    assert raised.value.code == 2
    assert said in errors
    assert "invalid _" not in errors


INTERRUPTER = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
"""


@pytest.mark.parametrize(
    "module", ["gevent", "llm_bench.cli", "yaml", "numpy", "llm_bench.report.table", "locust", "llm_bench.runs.run"]
)
async def test_an_interrupt_while_it_starts_is_one_line(tmp_path: Path, module: str) -> None:
    """The signal comes at the moment the module is looked for."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTER)
    path = os.pathsep.join([str(tmp_path), SOURCES])
    process = await start(tmp_path, "run", "--target", "http://127.0.0.1:1", INTERRUPT_AT=module, PYTHONPATH=path)

    assert await end(process) == (130, "", "llm-bench: interrupted\n")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out" / "bench").iterdir())


@asynccontextmanager
async def held_at(moment: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that never answers what it is asked at one moment of a run; (URL, set when it is asked)."""
    reached, asked = asyncio.Event(), {"/metrics": 0, "/v1/completions": 0}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked[request.path] = asked.get(request.path, 0) + 1
        names = {"/metrics": "before" if not asked["/v1/completions"] > 1 else "after", "/v1/completions": "load"}
        if request.path == "/v1/completions" and asked[request.path] == 1:
            names[request.path] = "probe"
        if names.get(request.path, request.path) == moment:
            reached.set()
            await asyncio.Event().wait()
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        if request.path == "/v1/completions":
            text = sse.encode({"choices": [{"index": 0, "text": "x"}]}) + sse.DONE
            return web.Response(body=text, content_type="text/event-stream")
        return web.Response(text="vllm:num_requests_running 1\n")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", reached
    await runner.cleanup()


@pytest.mark.parametrize("moment", ["/v1/models", "/version", "probe", "before", "load", "after"])
async def test_an_interrupt_at_any_moment_is_one_line_and_keeps_what_was_measured(tmp_path: Path, moment: str) -> None:
    (tmp_path / "s.yaml").write_text(SCENARIO)
    async with held_at(moment) as (url, reached):
        duration = "0.3" if moment == "after" else "30"
        process = await start(tmp_path, "run", "s.yaml", "--target", url, "--duration", duration, "--out", "o")
        await asyncio.wait_for(reached.wait(), 120)
        process.send_signal(signal.SIGINT)
        status, _, errors = await end(process)

    assert status == 130
    measured = moment in ("load", "after")
    assert errors in ("llm-bench: interrupted\n", "llm-bench: interrupted; what was measured is kept\n")
    assert (tmp_path / "o").exists() is measured
    if measured:
        result = read_result(tmp_path / "o")
        assert result.run.interrupted or moment == "after"
        assert any(record.sent_at is not None for record in result.requests)
