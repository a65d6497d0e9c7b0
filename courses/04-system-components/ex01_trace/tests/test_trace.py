"""A live run of gateway and engine, in which every call is noted; then diagrams and traces by hand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from exercise import Call, Timeline, diagram, hops, timeline

from llm_course.paths import MODELS, ROOT

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PROMPT = "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n"
BUDGET, OUTPUT_TOKENS = 16, 4
OURS = (f"{ROOT}/services/", f"{ROOT}/libs/proxy/")
GOES_ON = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Run:
    """One streamed request to a gateway with one engine, both in this process."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.places: list[str] = []
        """File and name of each call."""
        self._asked = False
        self._frames: set[FrameType] = set()
        """Coroutines and generators under way, which the interpreter also reports whenever they go on."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            with tempfile.TemporaryDirectory() as folder:
                queue, engine = Path(folder, "queue.jsonl"), Path(folder, "engine.jsonl")
                asyncio.run(self._serve(queue, engine))
                self.gateway, self.engine = ([json.loads(line) for line in each.open()] for each in (queue, engine))
        finally:
            threading.setprofile(None)  # type: ignore[arg-type]
            sys.setprofile(None)
            self._frames.clear()

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not self._asked or not code.co_filename.startswith(OURS):
            return
        if code.co_flags & GOES_ON:
            if frame in self._frames:
                return
            self._frames.add(frame)
        in_engine = threading.current_thread().name == "engine"
        in_gateway = "llm_gateway" in code.co_filename or "llm_proxy" in code.co_filename
        where = "gateway" if in_gateway else "engine" if in_engine else "server"
        self.places.append(f"{Path(code.co_filename).relative_to(ROOT)}::{code.co_qualname}")
        self.calls.append(Call(where, code.co_qualname))

    async def _serve(self, queue: Path, trace: Path) -> None:
        import aiohttp
        import uvicorn

        from llm_engine import Engine, EngineConfig
        from llm_engine.metrics import EngineMetrics
        from llm_engine.server.app import build_app
        from llm_gateway.testing import RunningGateway

        config = EngineConfig(
            str(MODELS / "zoo" / "llama"), attention_backend="torch", num_gpu_blocks_override=64, max_model_len=128,
            max_num_batched_tokens=BUDGET, max_num_seqs=4, trace=str(trace),
        )  # fmt: skip
        metrics = EngineMetrics("llama")
        app = build_app(Engine(config, [metrics]), metrics, "llama")
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        serving = asyncio.create_task(server.serve())
        async with asyncio.timeout(60):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        async with RunningGateway(url, queue_trace=str(queue)) as gateway, aiohttp.ClientSession() as client:
            await gateway.until(lambda each: each.parts.pool.engines[0].up)
            body = {
                "model": "llama", "prompt": PROMPT, "stream": True,
                "max_tokens": OUTPUT_TOKENS, "ignore_eos": True, "temperature": 0,
            }  # fmt: skip
            headers = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
            self._asked = True
            async with client.post(f"{gateway.url}/v1/completions", json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            await gateway.until(lambda each: each.in_flight == 0)
            self._asked = False
        server.should_exit = True
        await serving


@cache
def run() -> Run:
    return Run()


# The places


def defined_in(path: Path) -> set[str]:
    """Return the dotted names of a file's functions."""

    def walk(node: ast.AST, above: str) -> set[str]:
        found = set()
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found |= {f"{above}{each.name}"} | walk(each, f"{above}{each.name}.")
        return found

    return walk(ast.parse(path.read_text(encoding="utf-8")), "")


def test_every_place_exists() -> None:
    """Each answer is a file of this repository and a function in it."""
    for hop in hops():
        file, _, name = hop.path.partition("::")
        assert (ROOT / file).is_file(), f"to {hop.task}: there is no file {file!r}"
        assert name in defined_in(ROOT / file), f"to {hop.task}: {file} has no {name!r}"


def test_the_run_calls_every_place() -> None:
    """A live request, streamed through a gateway and an engine, calls each of the functions, in the part you name."""
    called = set(zip(run().places, (call.where for call in run().calls), strict=True))
    for hop in hops():
        assert hop.place, f"to {hop.task}: no answer"
        assert (hop.path, hop.where) in called, f"to {hop.task}: the {hop.where} never calls {hop.place}"


def test_in_the_order_of_the_run() -> None:
    """Each function is called for the first time after the one before it in the list."""
    first = {place: position for position, place in reversed(list(enumerate(run().places)))}
    assert all(hop.path in first for hop in hops()), "the run does not call every place"
    for before, after in pairwise(hops()):
        assert first[before.path] < first[after.path], f"to {after.task}: called before {before.place}"


ACCEPTED = {
    "handle POST /v1/completions": ["proxy/proxy.py::Proxy.generate"],
    "find out whose API key it is": ["tenancy/tenants.py::TenantTable.authenticate"],
    "make JSON of the body": [
        "llm_proxy/request/body.py::parse",
        "llm_proxy/request/body.py::read",
    ],
    "find the request's class and its targets": ["request/classify.py::classify"],
    "get a slot of an engine, at once or after waiting": [
        "scheduling/dispatch.py::Dispatcher.acquire",
        "proxy/attempt.py::Attempts._slot",
    ],
    "take the slot of one engine": ["engines/pool.py::EnginePool.take"],
    "send the request to that engine": ["llm_proxy/upstream/client.py::Upstream.send"],
    "handle the engine's own POST /v1/completions": ["server/app.py::Routes.complete"],
    "turn text into token ids": [
        "checkpoint/tokenizer.py::Tokenizer.encode",
        "checkpoint/tokenizer.py::Tokenizer.encode_words",
    ],
    "make a sequence for each answer": [
        "request/preparation.py::Preparer.prepare",
        "engine.py::Engine.prepare",
    ],
    "give the request to the engine's thread": ["server/async_engine.py::AsyncEngine._submit"],
    "give it a number of arrival and queue it": ["engine.py::Engine.enqueue"],
    "plan a step": ["scheduler/scheduler.py::Scheduler.schedule"],
    "look for its prefix in the cache and let it in": ["kv_cache/manager.py::KVCacheManager.admit"],
    "hand out a block of KV memory": ["kv_cache/block_pool.py::BlockPool.allocate"],
    "start the step on the device": ["execution/model_runner.py::ModelRunner.launch"],
    "write tokens, positions and block tables into tensors": ["execution/batch.py::BatchBuilder.build"],
    "run the layers": ["execution/decoder.py::DecoderModel.forward"],
    "share the blocks that the step has filled": ["scheduler/scheduler.py::Scheduler.commit"],
    "draw the next token": ["sampling/sampler.py::Sampler.sample"],
    "turn tokens into text that can be sent": ["request/detokenizer.py::Detokenizer.push"],
    "bring a step's outputs to the streams of their requests": ["server/async_engine.py::AsyncEngine._deliver"],
    "make server-sent events of an output": ["server/choices.py::TextChoices.events"],
    "let the engine's events through, and look for token counts": ["llm_proxy/stream/filter.py::StreamFilter.feed"],
    "give the slot back": ["llm_proxy/upstream/slot.py::EngineSlot.release"],
}
"""Where several functions are as good an answer, all of them."""


def test_each_place_does_its_task() -> None:
    """Each function is the one that does the task, not one that merely takes part in it."""
    for hop in hops():
        assert hop.place in ACCEPTED[hop.task], f"to {hop.task}: {hop.place} takes part in something else"


# The diagram


def test_a_diagram() -> None:
    """A request goes to the gateway, on to the engine, which takes two steps, and back."""
    calls = [Call("gateway", "ask"), Call("engine", "step"), Call("engine", "draw"), Call("engine", "step")]
    assert diagram([*calls, Call("gateway", "answer")]).splitlines() == [
        "sequenceDiagram",
        "    participant client",
        "    participant gateway",
        "    participant engine",
        "    client->>gateway: ask",
        "    gateway->>engine: step (2 times)",
        "    engine->>engine: draw",
        "    engine->>gateway: answer",
    ]


def test_the_diagram_of_the_run(record_property: Callable[[str, object], None]) -> None:
    """The diagram of the live run has an arrow for each hop, and shows how many steps the engine took."""
    wanted = {hop.path for hop in hops()}
    kept = [call for call, place in zip(run().calls, run().places, strict=True) if place in wanted]
    arrows = [line.strip() for line in diagram(kept).splitlines() if "->>" in line]
    steps = run().places.count("services/engine/llm_engine/execution/decoder.py::DecoderModel.forward")
    record_property("prediction", steps)
    assert len(arrows) == 25
    assert arrows[0] == "client->>gateway: Proxy.generate"
    assert f"engine->>engine: DecoderModel.forward ({steps} times)" in arrows


# The traces


def traces() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return traces of two requests; the engine's file began 100 s after the gateway's."""
    gateway: list[dict[str, Any]] = [
        {"event": "start", "time_unix": 1000.0},
        {"event": "enqueue", "id": "other#0", "trace_id": "other", "time": 100.0},
        {"event": "grant", "id": "other#0", "time": 100.0},
        {"event": "enqueue", "id": "mine#1", "trace_id": "mine", "time": 101.0},
        {"event": "grant", "id": "mine#1", "time": 103.0},
        {"event": "release", "id": "other#0", "time": 104.0},
        {"event": "release", "id": "mine#1", "time": 109.0},
    ]
    other, mine = {"id": "a#0/0"}, {"id": "b#1/0"}
    engine: list[dict[str, Any]] = [
        {"event": "start", "time_unix": 1100.0},
        {"event": "request", **other, "trace_id": "other", "time": 0.5},
        {"event": "step", "index": 0, "time": 1.0, "sequences": [other]},
        {"event": "request", **mine, "trace_id": "mine", "time": 3.25},
        {"event": "result", "index": 0, "time": 3.5, "sampled": [other]},
        {"event": "step", "index": 1, "time": 4.0, "sequences": [other, mine]},
        {"event": "result", "index": 1, "time": 5.0, "sampled": [other]},
        {"event": "finish", **other, "time": 5.0},
        {"event": "step", "index": 2, "time": 6.0, "sequences": [mine]},
        {"event": "result", "index": 2, "time": 7.0, "sampled": [mine]},
        {"event": "finish", **mine, "time": 8.0},
    ]
    return gateway, engine


def test_two_clocks() -> None:
    """The gateway's file counts from 1000 and the engine's from 1100: granted at 1103, queued at 1103.25."""
    found = timeline(*traces(), "mine")
    assert [found.enqueued, found.granted, found.queued] == [1101.0, 1103.0, 1103.25]
    assert [found.finished, found.released] == [1108.0, 1109.0]


def test_only_this_request() -> None:
    """The first step was another request's, and the first result without a token of this one was its prompt's chunk."""
    found = timeline(*traces(), "mine")
    assert (found.scheduled, found.first_token, found.num_steps) == (1104.0, 1107.0, 2)


def test_the_timeline_of_the_run() -> None:
    """The live run's two files tell one story: its moments are in order, and it took the steps that it took."""
    found: Timeline = timeline(run().gateway, run().engine, TRACE_ID)
    moments = [
        found.enqueued, found.granted, found.queued, found.scheduled, found.first_token, found.finished, found.released
    ]  # fmt: skip
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] < 60
    assert found.num_steps == run().places.count(
        "services/engine/llm_engine/execution/decoder.py::DecoderModel.forward"
    )
