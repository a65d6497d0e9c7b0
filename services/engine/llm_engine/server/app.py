"""The ASGI application: routes, request ids, liveness and readiness."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

# Starlette imports it with the first streamed answer, which would wait for it.
import anyio._backends._asyncio  # noqa: F401  # pants: no-infer-dep
from fastapi import FastAPI, Request, Response

from llm_contract.errors import ApiError, ErrorKind
from llm_contract.openai import ModelCard, ModelList, StreamOptions
from llm_engine.engine import Engine
from llm_engine.server import body, completions, errors
from llm_engine.server.api_key import ApiKey
from llm_engine.server.async_engine import AsyncEngine
from llm_engine.server.intake import Intake
from llm_engine.server.metrics import CONTENT_TYPE, EngineMetrics
from llm_engine.server.reading import Reader
from llm_engine.server.request_id import RequestId
from llm_engine.server.requests import EngineRequest
from llm_engine.version import __version__

Asked = TypeVar("Asked", bound=EngineRequest)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    trust_request_chat_template: bool = False
    """A request may bring a chat template of its own."""
    enable_tokenizer_info_endpoint: bool = False
    """GET /tokenizer_info shows tokenizer_config.json, the chat template included."""
    enable_force_include_usage: bool = False
    """Every event of a stream has the usage so far, and its last one the whole, asked for or not."""
    return_tokens_as_token_ids: bool = False
    """Log-probabilities name tokens `token_id:<id>`, asked for or not."""
    api_key: str | None = None
    """Key that requests below /v1 need."""
    root_path: str = ""
    """Path under which a proxy in front of the server serves it."""


def build_app(engine: Engine, metrics: EngineMetrics, model_name: str, options: ServerOptions | None = None) -> FastAPI:
    """The engine's thread starts and stops with the application. `app.state.draining = True` refuses new work."""
    options = options or ServerOptions()
    runner = AsyncEngine(engine)
    reader = Reader(engine.tokenizer, engine.check, model_name, options.trust_request_chat_template)
    intake = Intake(reader, engine.folder)
    created = int(time.time())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await runner.start()
        yield
        intake.close()
        await runner.stop()

    app = FastAPI(title="llm-engine", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.root_path = options.root_path
    app.state.draining = False
    app.state.engine = runner
    app.state.intake = intake
    if options.api_key is not None:
        app.add_middleware(ApiKey, key=options.api_key)
    app.add_middleware(RequestId)
    errors.install(app)

    def require_ready() -> None:
        if app.state.draining:
            raise ApiError(ErrorKind.DRAINING, "the server is shutting down; send the request elsewhere", retry_after=1)
        require_alive()

    def require_alive() -> None:
        if not runner.is_alive:
            raise ApiError(ErrorKind.ENGINE_UNAVAILABLE, "the engine has stopped; restart the server")

    def with_defaults(asked: Asked) -> Asked:
        """Apply what the server's flags ask of every request."""
        if options.return_tokens_as_token_ids and asked.return_tokens_as_token_ids is None:
            asked.return_tokens_as_token_ids = True
        if options.enable_force_include_usage and asked.stream:
            asked.stream_options = StreamOptions(include_usage=True, continuous_usage_stats=True)
        return asked

    @app.post("/v1/completions")
    async def complete(request: Request) -> Response:
        raw = await body.read(request)
        require_ready()
        asked, submissions = await intake.read("completion", raw)
        return await completions.complete(request, runner, model_name, with_defaults(asked), submissions)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        raw = await body.read(request)
        require_ready()
        asked, submissions, text = await intake.read("chat", raw)
        return await completions.chat(request, runner, model_name, with_defaults(asked), submissions, text)

    def card() -> ModelCard:
        return ModelCard(
            id=model_name,
            created=created,
            owned_by="llm-engine",
            root=engine.config.model,
            max_model_len=engine.max_model_len,
        )

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[card()])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> ModelCard:
        reader.check_model(name)
        return card()

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        raw = await body.read(request)
        return Response(await intake.read("tokenize", raw), media_type="application/json")

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        raw = await body.read(request)
        return Response(await intake.read("detokenize", raw), media_type="application/json")

    if options.enable_tokenizer_info_endpoint:

        @app.get("/tokenizer_info")
        async def tokenizer_info() -> dict[str, object]:
            return engine.tokenizer.info()

    @app.get("/health")
    async def health() -> Response:
        """200 while the engine's thread lives."""
        require_alive()
        return Response()

    @app.get("/ready")
    async def ready() -> Response:
        """200 while new requests are welcome."""
        require_ready()
        return Response()

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @app.get("/metrics")
    async def render_metrics() -> Response:
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return app
