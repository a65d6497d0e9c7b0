"""An engine that follows a script: vLLM's HTTP API, no model, known timing, and failures when a test asks for them.

    async with ScriptedEngine(Script(max_running=1)) as engine:
        engine.headers_gate.close()                      # park requests before their first byte
        …                                                # send something to engine.url
        await engine.until(lambda: len(engine.received) == 1)
        engine.headers_gate.open()

Switches, read anew for each request: `headers_gate`, `chunk_gate`, `die_after_chunks`, `stall_after_chunks`, `answer`,
`answers`, `raw_answer`, `content_type`, `omit_done`. `stop()` and `start()` take the engine down and up again on the
same port.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

from llm_contract import metrics, sse
from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import DetokenizeRequest, TokenizeRequest
from llm_contract.testing import job as jobs
from llm_contract.testing.gate import Gate
from llm_contract.testing.job import Job
from llm_contract.testing.prefix_cache import PrefixCache
from llm_contract.testing.scheduler import SlotScheduler
from llm_contract.testing.script import KV_BLOCK_SIZE, Script, detokenize, tokenize

HOST = "127.0.0.1"
MAX_BODY_BYTES = 64 * 1024 * 1024
JSON_TYPE = "application/json"
BUSY_SECONDS = metrics.Metric("scripted_busy_seconds_total", "counter", "Time with at least one request running.")
SLOT_SECONDS = metrics.Metric("scripted_slot_seconds_total", "counter", "Running time, summed over requests.")


@dataclass(slots=True, eq=False)
class Received:
    """One generation request, as it arrived and as it ended."""

    path: str
    headers: CIMultiDictProxy[str]
    raw: bytes
    body: dict[str, Any] = field(default_factory=dict)
    started: bool = False
    """It got a running slot."""
    chunks_sent: int = 0
    finished: bool = False
    aborted: bool = False
    """The client hung up, or the engine was stopped, before the answer was complete."""


class ScriptedEngine:
    def __init__(
        self, script: Script | None = None, *, host: str = HOST, port: int = 0, keep_records: bool = True
    ) -> None:
        self.script = script or Script()
        self.host = host
        self.port = port
        self.headers_gate = Gate()
        self.chunk_gate = Gate()
        """Before every chunk; a chat stream's opening role chunk is not held."""
        self.die_after_chunks: int | None = None
        """Number of chunks after which the connection is reset; 0 resets before the response's first byte."""
        self.stall_after_chunks: int | None = None
        """Number of chunks after which an answer stops until `stall_gate`, closed at first, opens; /health is well."""
        self.stall_gate = Gate()
        self.stall_gate.close()
        self.answer: tuple[int, dict[str, Any]] | None = None
        """(status, JSON body) for generation requests instead of the script."""
        self.answers: deque[tuple[int, dict[str, Any]]] = deque()
        """The same, each for one request, ahead of everything else."""
        self.raw_answer: tuple[bytes, ...] | None = None
        """Bytes to send instead of an HTTP response; then the connection ends. Each piece waits at `chunk_gate`.

        For slow headers, malformed events, and bytes that are no HTTP.
        """
        self.content_type: str | None = None
        """Header of every answer to a generation request, whatever the answer holds."""
        self.omit_done = False
        """End streams in good order but without `[DONE]` and without the last chunk."""
        self.healthy = True
        self.received: list[Received] = []
        self.started: list[Received] = []
        """In the order in which they got a running slot."""
        self._keep_records = keep_records
        self._scheduler = SlotScheduler(self.script)
        self._cache = PrefixCache(self.script.prefix_blocks)
        self._changed = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def running(self) -> list[Received]:
        return [request for request in self.started if not (request.finished or request.aborted)]

    @property
    def aborted(self) -> list[Received]:
        return [request for request in self.received if request.aborted]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; a second start after `stop` takes the same port."""
        runner = web.AppRunner(self._app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        await site.start()
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and drop every open connection."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until `condition()` holds; it is evaluated whenever a request's state changes."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ready", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        app.router.add_route("*", "/{path:.*}", self._nothing)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _nothing(self, request: web.Request) -> web.Response:
        error = ApiError(ErrorKind.NOT_FOUND, f"there is no {request.path}")
        return _json(error.body(), error.kind.status)

    async def _version(self, _: web.Request) -> web.Response:
        return _json({"version": "scripted"})

    async def _models(self, _: web.Request) -> web.Response:
        card = {"id": self.script.model, "object": "model", "created": 0, "owned_by": "scripted"}
        return _json({"object": "list", "data": [{**card, "max_model_len": self.script.max_model_len}]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        try:
            tokens = tokenize(TokenizeRequest.model_validate_json(await request.read()).prompt)
        except ValueError as error:
            return _refused(str(error))
        return _json({"count": len(tokens), "max_model_len": self.script.max_model_len, "tokens": tokens})

    async def _detokenize(self, request: web.Request) -> web.Response:
        try:
            prompt = detokenize(DetokenizeRequest.model_validate_json(await request.read()).tokens)
        except ValueError as error:
            return _refused(str(error))
        return _json({"prompt": prompt})

    async def _metrics(self, _: web.Request) -> web.Response:
        labels = f'model_name="{self.script.model}",engine="0"'
        lines = [line for metric, value in self._samples() for line in _metric_lines(metric, labels, value)]
        if self.script.kv_tokens:
            blocks = f'block_size="{KV_BLOCK_SIZE}",num_gpu_blocks="{self.script.kv_tokens // KV_BLOCK_SIZE}"'
            config = f'engine="0",{blocks},enable_prefix_caching="{bool(self.script.prefix_blocks)}"'
            lines += _metric_lines(metrics.CACHE_CONFIG_INFO, config, 1.0)
        return web.Response(text="\n".join(lines) + "\n")

    def _samples(self) -> list[tuple[metrics.Metric, float]]:
        busy_seconds, slot_seconds = self._scheduler.usage()
        return [
            (metrics.REQUESTS_RUNNING, self._scheduler.running),
            (metrics.REQUESTS_WAITING, self._scheduler.waiting),
            (metrics.KV_CACHE_USAGE, self._scheduler.kv_usage),
            (metrics.PROMPT_TOKENS, self._counts["prompt_tokens"]),
            (metrics.GENERATION_TOKENS, self._counts["generation_tokens"]),
            (metrics.PREFIX_CACHE_QUERIES, self._cache.queries),
            (metrics.PREFIX_CACHE_HITS, self._cache.hits),
            (BUSY_SECONDS, busy_seconds),
            (SLOT_SECONDS, slot_seconds),
        ]

    # --- generation -----------------------------------------------------------------------------------------------

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        record = Received(request.path, request.headers, await request.read())
        if self._keep_records:
            self.received.append(record)
        self._changed.set()
        try:
            response = await self._respond(request, record)
        except ApiError as error:
            response = _json(error.body(), error.kind.status)
        except (asyncio.CancelledError, ConnectionError):
            record.aborted = True
            self._changed.set()
            raise
        record.finished = not record.aborted
        self._changed.set()
        return response

    async def _respond(self, request: web.Request, record: Received) -> web.StreamResponse:
        if self.answers:
            return self._scripted(self.answers.popleft())
        if self.answer is not None:
            return self._scripted(self.answer)
        record.body, job = jobs.parse(record.path, record.raw, self.script)
        async with self._slot(record, job):
            self._counts["prompt_tokens"] += job.prompt_tokens
            start = time.monotonic() + self.script.prefill * (job.prompt_tokens - self._cache.add(job.prompt))
            await self.headers_gate.wait()
            if self.die_after_chunks == 0:
                return _reset(request, record)
            if self.raw_answer is not None:
                return await self._raw(request, self.raw_answer)
            if job.stream:
                return await self._stream(request, record, job, start)
            return await self._whole(job, start)

    def _scripted(self, answer: tuple[int, dict[str, Any]]) -> web.Response:
        status, body = answer
        return _json(body, status, self.content_type or JSON_TYPE)

    @asynccontextmanager
    async def _slot(self, record: Received, job: Job) -> AsyncIterator[None]:
        async with self._scheduler.slot(job.prompt_tokens + job.max_tokens, job.priority):
            record.started = True
            if self._keep_records:
                self.started.append(record)
            self._changed.set()
            yield

    async def _stream(self, request: web.Request, record: Received, job: Job, start: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": self.content_type or sse.CONTENT_TYPE})
        await response.prepare(request)
        left = job.max_tokens
        for due, piece, count in self.script.chunks(job.max_tokens, job.first):
            await self.chunk_gate.wait()
            await self._stall(record.chunks_sent)
            await _sleep_until(start + due)
            left -= count
            if self.omit_done and not left:
                return response
            if job.chat and not record.chunks_sent:
                await response.write(sse.encode(job.event({"delta": {"role": "assistant", "content": ""}})))
            choice = job.choice(piece, "length" if not left else None)
            usage = {"usage": job.usage(job.max_tokens - left)} if job.continuous_usage else {}
            await response.write(sse.encode({**job.event(choice), **usage}))
            record.chunks_sent += 1
            self._counts["generation_tokens"] += count
            self._changed.set()
            if record.chunks_sent == self.die_after_chunks:
                return _reset(request, record)
        if job.include_usage:
            await response.write(sse.encode({**job.event(), "usage": job.usage(job.max_tokens)}))
        await response.write(sse.DONE)
        return response

    async def _stall(self, chunks_sent: int) -> None:
        if chunks_sent == self.stall_after_chunks:
            await self.stall_gate.wait()

    async def _raw(self, request: web.Request, pieces: tuple[bytes, ...]) -> web.StreamResponse:
        assert request.transport is not None
        for piece in pieces:
            await self.chunk_gate.wait()
            request.transport.write(piece)
            self._changed.set()
        request.transport.close()
        return web.Response()

    async def _whole(self, job: Job, start: float) -> web.Response:
        await self._stall(0)
        await _sleep_until(start + self.script.duration(job.max_tokens))
        self._counts["generation_tokens"] += job.max_tokens
        return _json(job.whole(), content_type=self.content_type or JSON_TYPE)


def _metric_lines(metric: metrics.Metric, labels: str, value: float) -> list[str]:
    name = metric.name
    return [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}", f"{name}{{{labels}}} {value}"]


def _json(body: dict[str, Any], status: int = 200, content_type: str = JSON_TYPE) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, headers={"content-type": content_type})


def _refused(reason: str) -> web.Response:
    error = ApiError(ErrorKind.INVALID_REQUEST, reason)
    return _json(error.body(), error.kind.status)


def _reset(request: web.Request, record: Received) -> web.Response:
    """End the connection with a TCP reset, as a lost host would."""
    record.aborted = True
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def _sleep_until(moment: float) -> None:
    delay = moment - time.monotonic()
    if delay > 0:
        await asyncio.sleep(delay)
