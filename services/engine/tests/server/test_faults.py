"""Isolation: a request that fails anywhere ends with its own error, and all others write the same as without it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm_contract import sse
from llm_engine import Engine, SamplingParams
from llm_engine.errors import EngineDead
from llm_engine.metrics import EngineMetrics
from llm_engine.operators import logits_processors
from llm_engine.request.choice import Choice
from llm_engine.request.detokenizer import StopStrings
from llm_engine.sampling import logprobs, sampler
from llm_engine.server.choices import TextChoices
from llm_engine.server.serve import DEATH_GRACE_SECONDS
from llm_engine.settings import ServerConfig
from llm_engine.speculation.speculation import Speculation
from llm_engine.structured.grammar import Grammar, GrammarCompiler

MARK = 666
"""Seed of the request that has to fail."""


class Boom(Exception):
    """An unexpected error: a defect of the engine."""


def marked(sequence: Any) -> bool:
    return bool(sequence.params.seed == MARK)


@dataclass(frozen=True)
class Fault:
    owner: Any
    name: str
    hits: Callable[..., bool] = lambda *args, **kwargs: True
    """Whether a call with these arguments raises."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Fields that make the request reach the fault."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(self.owner, self.name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.hits(*args, **kwargs):
                raise Boom
            return original(*args, **kwargs)

        monkeypatch.setattr(self.owner, self.name, call)


REGEX = {"structured_outputs": {"regex": "[a-z]{40}"}}
FAULTS = {
    "prepared": Fault(Engine, "prepare", lambda self, ids, params, *rest: params.seed == MARK),
    "its grammar compiled": Fault(GrammarCompiler, "compile", fields=REGEX),
    "admitted": Fault(Engine, "enqueue", lambda self, name, prepared, *rest, **more: marked(prepared.sequence)),
    "its arrival observed": Fault(EngineMetrics, "queued", lambda self, sequence: marked(sequence)),
    "its end observed": Fault(EngineMetrics, "finished", lambda self, sequence: marked(sequence)),
    "its grammar asked": Fault(Grammar, "mask", fields=REGEX),
    "its grammar advanced": Fault(Grammar, "accept", fields=REGEX),
    "its logits processed": Fault(
        logits_processors, "_process_row", lambda scores, sequence: marked(sequence), {"logit_bias": {"5": 1}}
    ),
    "its logprobs gathered": Fault(logprobs, "gather", fields={"logprobs": 2}),
    "its logprobs read": Fault(logprobs, "collect", fields={"logprobs": 2}),
    "its prompt's logprobs noted": Fault(sampler, "_note_prompt", fields={"echo": True, "logprobs": 1}),
    "its first token taken": Fault(Choice, "take", lambda self, *rest: marked(self.sequence)),
    "its tenth token taken": Fault(
        Choice, "take", lambda self, *rest: marked(self.sequence) and self.sequence.num_output_tokens == 10
    ),
    "one of its answers": Fault(
        Choice, "take", lambda self, *rest: self.sequence.index == 2, {"n": 3, "temperature": 1}
    ),
    "detokenised": Fault(StopStrings, "push", lambda self, text: bool(self._stops), {"stop": ["no such text"]}),
    "formatted": Fault(TextChoices, "_choice", lambda self, *rest: self._body.seed == MARK),
}


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, timeout=30) as connected:
        yield connected


def ask(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    body = {"prompt": "import os\n", "max_tokens": 30, "temperature": 0, "ignore_eos": True, **fields}
    return client.post("/v1/completions", json=body, headers={"x-request-id": f"id-{fields.get('seed')}"})


def text(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    *data, last = sse.Decoder().feed(response.content)
    assert last == sse.DONE_DATA
    return "".join(json.loads(item)["choices"][0]["text"] for item in data)


def error_of(response: httpx2.Response, stream: bool) -> dict[str, Any]:
    if not stream or response.status_code != 200:
        assert response.status_code == 500
        assert response.headers["x-request-id"] == f"id-{MARK}"
        return dict(response.json()["error"])
    *_, error, done = sse.Decoder().feed(response.content)
    assert done == sse.DONE_DATA
    return dict(json.loads(error)["error"])


@pytest.fixture(scope="module")
def alone(client: httpx2.Client) -> list[str]:
    """The answers to three other requests when nothing fails."""
    return [text(ask(client, stream=True, seed=seed, temperature=1)) for seed in range(3)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_its_own_request_and_no_other(
    client: httpx2.Client,
    server: Any,
    alone: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    stream: bool,
) -> None:
    fault = FAULTS[name]
    fault.install(monkeypatch)
    with caplog.at_level(logging.ERROR), ThreadPoolExecutor(4) as pool:
        others = [pool.submit(ask, client, stream=True, seed=seed, temperature=1) for seed in range(3)]
        failing = pool.submit(ask, client, stream=stream, seed=MARK, **fault.fields)
        assert [text(other.result()) for other in others] == alone
        error = error_of(failing.result(), stream)
    assert error["code"] == "internal_error"
    assert f"id-{MARK}" in error["message"]
    assert any("Boom" in str(record.exc_info) and f"id-{MARK}" in record.getMessage() for record in caplog.records)
    assert client.get("/health").status_code == 200
    assert not server.engine.has_work
    assert server.engine.kv_cache.pool.usage == 0


def test_an_observer_of_steps_that_fails_is_logged_once_and_changes_no_answer(
    client: httpx2.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = text(ask(client, stream=True))
    for event in ("launched", "computed"):
        Fault(EngineMetrics, event).install(monkeypatch)
    with caplog.at_level(logging.ERROR):
        assert text(ask(client, stream=True)) == before
    told = [record.getMessage() for record in caplog.records]
    assert sorted(message.split()[0] for message in told) == ["EngineMetrics.computed", "EngineMetrics.launched"]


def test_a_guess_that_fails_ends_its_own_request(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(speculative_config={"method": "ngram", "num_speculative_tokens": 3})
    assert isinstance(engine.speculation, Speculation)
    propose = engine.speculation._propose
    monkeypatch.setattr(engine.speculation, "_propose", lambda s, count: 1 / 0 if marked(s) else propose(s, count))
    for seed in (1, MARK):
        engine.add_request(str(seed), [5, 6] * 10, SamplingParams(seed=seed, max_tokens=9, ignore_eos=True))
    ends = {}
    while engine.has_work:
        for output in engine.step():
            if output.finish_reason is not None:
                ends[output.request_id] = (output.finish_reason.value, type(output.error))
    assert ends == {"1": ("length", type(None)), str(MARK): ("error", ZeroDivisionError)}
    assert engine.kv_cache.pool.usage == 0


@pytest.mark.parametrize("overlap", [False, True])
def test_offline_the_error_is_raised_and_nothing_is_left_behind(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, overlap: bool
) -> None:
    engine = make_engine(async_scheduling=overlap)
    FAULTS["its tenth token taken"].install(monkeypatch)
    for seed in (1, MARK):
        engine.add_request(str(seed), [5, 6, 7], SamplingParams(seed=seed, max_tokens=20, ignore_eos=True))
    outputs = [output for _ in range(100) if engine.has_work for output in engine.step()]
    (failed,) = [output for output in outputs if output.error is not None]
    assert (failed.request_id, type(failed.error)) == (str(MARK), Boom)
    assert sum(len(output.token_ids) for output in outputs if output.request_id == "1") == 20
    assert engine.kv_cache.pool.usage == 0


DYING = """
import sys
from llm_engine.cli import main
from llm_engine.engine import Engine

Engine.step = lambda self: 1 / 0
sys.exit(main(["serve", sys.argv[1], "--port", "0", "--num-gpu-blocks-override", "128"]))
"""


def test_a_dead_engine_ends_the_process_for_a_supervisor_to_start_again(models: Path) -> None:
    command = [sys.executable, "-c", DYING, str(models / "zoo" / "llama")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = re.search(r"http://\S+", process.stderr.readline())
            assert url is not None
            with httpx2.Client(base_url=url[0], timeout=30) as client:
                assert ask(client).status_code == 503
                assert client.get("/health").status_code == 503
            assert process.wait(DEATH_GRACE_SECONDS + 20) == 1
        finally:
            process.kill()
        told = process.stderr.read()
    assert "ZeroDivisionError" in told
    assert "Traceback" in told


def test_an_error_of_the_step_itself_ends_every_request_and_health(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(num_gpu_blocks_override=128)
    monkeypatch.setattr(server.engine.scheduler, "schedule", lambda: 1 / 0)
    with httpx2.Client(base_url=server.url, timeout=30) as client, caplog.at_level(logging.ERROR):
        assert ask(client).status_code == 503
        assert client.get("/health").status_code == 503
        assert ask(client).status_code == 503
    assert any("ZeroDivisionError" in str(record.exc_info) for record in caplog.records)
    assert isinstance(server.app.state.engine._dead, EngineDead)


def test_health_fails_while_a_step_does_not_end(
    start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(num_gpu_blocks_override=128, options=ServerConfig(stall_timeout=0.2))
    reached, goes_on = threading.Event(), threading.Event()
    schedule = server.engine.scheduler.schedule

    def hang() -> Any:
        reached.set()
        goes_on.wait()
        return schedule()

    with httpx2.Client(base_url=server.url, timeout=30) as client, ThreadPoolExecutor(1) as pool:
        assert client.get("/health").status_code == 200
        monkeypatch.setattr(server.engine.scheduler, "schedule", hang)
        answer = pool.submit(ask, client)
        try:
            assert reached.wait(30)
            until(lambda: client.get("/health").status_code == 503)
            assert "a step has not ended" in client.get("/health").text
            assert client.get("/ready").status_code == 200
        finally:
            goes_on.set()
        assert answer.result(30).status_code == 200
        until(lambda: client.get("/health").status_code == 200)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
