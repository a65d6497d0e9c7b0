"""The ASGI application: routes, request ids, liveness and readiness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

# Starlette would import this with the first streamed answer and delay it.
import anyio._backends._asyncio  # noqa: F401  # pants: no-infer-dep
from fastapi import FastAPI, Request, Response

from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import ModelCard, ModelList, StreamOptions
from llm_engine.engine import Engine
from llm_engine.metrics import CONTENT_TYPE, EngineMetrics
from llm_engine.server import completions, errors
from llm_engine.server.api_key import ApiKey
from llm_engine.server.async_engine import AsyncEngine
from llm_engine.server.reading import body
from llm_engine.server.reading.intake import Intake
from llm_engine.server.reading.reader import Reader
from llm_engine.server.reading.requests import EngineRequest
from llm_engine.server.record import Recording
from llm_engine.server.request_id import RequestId
from llm_engine.settings import ServerConfig
from llm_engine.version import __version__
from llm_proxy.telemetry import TracingSettings, make_tracing
from llm_proxy.telemetry.metrics import SpanCollector

Asked = TypeVar("Asked", bound=EngineRequest)


def build_app(engine: Engine, metrics: EngineMetrics, model_name: str, options: ServerConfig | None = None) -> FastAPI:
    """Build the application, which starts and stops the engine's thread.

    With `app.state.draining = True` it refuses new requests.
    """
    options = options or ServerConfig()
    routes = Routes(engine, metrics, model_name, options)
    app = FastAPI(title="llm-engine", version=__version__, lifespan=routes.lifespan, docs_url=None, redoc_url=None)
    app.root_path = options.root_path
    app.state.draining = False
    app.state.engine = routes.runner
    app.state.intake = routes.intake
    if options.otlp_traces_endpoint is not None or options.access_log != "off":
        app.add_middleware(Recording, tracing=routes.tracing, model=model_name, access_log=options.access_log)
    if options.api_key is not None:
        app.add_middleware(ApiKey, key=options.api_key)
    app.add_middleware(RequestId)
    errors.install(app)
    routes.install(app)
    return app


class Routes:
    """The routes of one engine's server."""

    def __init__(self, engine: Engine, metrics: EngineMetrics, model_name: str, options: ServerConfig) -> None:
        self.runner = AsyncEngine(engine)
        self._engine = engine
        self._metrics = metrics
        self._model_name = model_name
        self._options = options
        self._reader = Reader(engine.tokenizer, engine.check, model_name, options.trust_request_chat_template)
        self.intake = Intake(self._reader, engine.folder)
        self._created = int(time.time())
        receiver, key_file = options.otlp_traces_endpoint or "", options.otlp_traces_key_file
        self.tracing = make_tracing("engine", TracingSettings(otlp_endpoint=receiver, otlp_key_file=key_file))
        if options.otlp_traces_endpoint is not None:
            metrics.registry.register(SpanCollector(self.tracing.counts))

    def install(self, app: FastAPI) -> None:
        """Add the routes to the application."""
        app.post("/v1/completions")(self.complete)
        app.post("/v1/chat/completions")(self.chat)
        app.get("/v1/models")(self.models)
        app.get("/v1/models/{name:path}")(self.model)
        app.post("/tokenize")(self.tokenize)
        app.post("/detokenize")(self.detokenize)
        if self._options.enable_tokenizer_info_endpoint:
            app.get("/tokenizer_info")(self.tokenizer_info)
        app.get("/health")(self.health)
        app.get("/ready")(self.ready)
        app.get("/version")(self.version)
        app.get("/metrics")(self.render_metrics)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        await self.runner.start()
        yield
        self.intake.close()
        await self.runner.stop()
        await asyncio.to_thread(self.tracing.close)

    async def complete(self, request: Request) -> Response:
        raw = await body.read(request)
        self._require_ready(request)
        asked, submissions = await self.intake.read("completion", raw)
        return await completions.complete(
            request, self.runner, self._model_name, self._with_defaults(asked), submissions=submissions
        )

    async def chat(self, request: Request) -> Response:
        raw = await body.read(request)
        self._require_ready(request)
        asked, submissions, text = await self.intake.read("chat", raw)
        return await completions.chat(
            request, self.runner, self._model_name, body=self._with_defaults(asked), submissions=submissions, text=text
        )

    async def models(self) -> ModelList:
        return ModelList(data=[self._card()])

    async def model(self, name: str) -> ModelCard:
        self._reader.check_model(name)
        return self._card()

    async def tokenize(self, request: Request) -> Response:
        raw = await body.read(request)
        return Response(await self.intake.read("tokenize", raw), media_type="application/json")

    async def detokenize(self, request: Request) -> Response:
        raw = await body.read(request)
        return Response(await self.intake.read("detokenize", raw), media_type="application/json")

    async def tokenizer_info(self) -> dict[str, object]:
        return self._engine.tokenizer.info()

    async def health(self) -> Response:
        """Answer 200 while the engine's thread lives and no step takes longer than stall_timeout."""
        self._require_alive()
        seconds, allowed = self.runner.step_seconds, self._options.stall_timeout
        if allowed and seconds > allowed:
            raise ApiError(
                ErrorKind.ENGINE_UNAVAILABLE, f"a step has not ended for {seconds:.0f} s; restart the server"
            )
        return Response()

    async def ready(self, request: Request) -> Response:
        """Answer 200 while new requests are accepted."""
        self._require_ready(request)
        return Response()

    async def version(self) -> dict[str, str]:
        return {"version": __version__}

    async def render_metrics(self) -> Response:
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})

    def _require_ready(self, request: Request) -> None:
        if request.app.state.draining:
            raise ApiError(ErrorKind.DRAINING, "the server is shutting down; send the request elsewhere", retry_after=1)
        self._require_alive()

    def _require_alive(self) -> None:
        if not self.runner.is_alive:
            raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, "the engine has stopped; restart the server")

    def _with_defaults(self, asked: Asked) -> Asked:
        """Apply the server's flags to a request."""
        if self._options.return_tokens_as_token_ids and asked.return_tokens_as_token_ids is None:
            asked.return_tokens_as_token_ids = True
        if self._options.enable_force_include_usage and asked.stream:
            asked.stream_options = StreamOptions(include_usage=True, continuous_usage_stats=True)
        return asked

    def _card(self) -> ModelCard:
        return ModelCard(
            id=self._model_name,
            created=self._created,
            owned_by="llm-engine",
            root=self._engine.config.model,
            max_model_len=self._engine.max_model_len,
        )
