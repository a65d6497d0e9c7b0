"""One request: the facts that are read from its bytes, and its state at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from aiohttp import web

from llm_contract import headers
from llm_contract.errors import ApiError, ErrorKind
from llm_proxy.request import body as request_body
from llm_proxy.request.endpoints import QUEUED
from llm_proxy.request.form import Form
from llm_proxy.request.prefix import BLOCK_BYTES, BYTES_PER_TOKEN, prefix_hashes
from llm_proxy.telemetry.tracing import NO_TRACE, Trace
from llm_router.fleet import Fleet
from llm_router.policies import POLICIES, Routed
from llm_router.settings import ModelSettings

MAX_SHOWN = 256
"""Most characters of a client's model name that a message repeats."""

PASSED_ON = (
    *(headers.AUTHORIZATION, headers.API_KEY, headers.SESSION, headers.PRIORITY, headers.TENANT),
    *(headers.SLO_TTFT_MS, headers.SLO_TPOT_MS, headers.DEADLINE_MS, headers.TRACEPARENT, "tracestate"),
    *("accept", "anthropic-version", "anthropic-beta"),
)
"""Request headers that are sent to the engine unchanged."""


@dataclass(slots=True, eq=False)
class Job:
    """An admitted request. Times are monotonic, in seconds."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any]
    model: ModelSettings
    routed: Routed
    _: KW_ONLY
    request_id: str
    arrived: float
    content_type: str = "application/json"
    trace: Trace = NO_TRACE
    tried: list[str] = field(default_factory=list)
    """Ids of the engines that failed it."""
    attempts: int = 0
    queue_wait: float | None = None
    """Seconds in the queue over all attempts; None before the first."""
    engine: str = ""
    """Name of the engine that answered last, as the client sees it."""

    def engine_headers(self) -> dict[str, str]:
        sent = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        sent[headers.REQUEST_ID] = self.request_id
        sent["content-type"] = self.content_type
        return sent

    def response_headers(self) -> dict[str, str]:
        found = {headers.REQUEST_ID: self.request_id}
        if self.engine:
            found[headers.ENGINE] = self.engine
        if self.queue_wait is not None:
            found[headers.QUEUE_WAIT_MS] = f"{self.queue_wait * 1000:.1f}"
        return found


def parse(request: web.Request, raw: bytes, fleet: Fleet, *, request_id: str, arrived: float) -> Job:
    """Return the job for a request. Raise ApiError: 400 if it is malformed, 404 if there is no such model."""
    content_type = request.headers.get("content-type", "")
    if QUEUED[request.path].is_form:
        form = Form(raw, content_type)
        body: dict[str, Any] = {"model": form.get("model"), "stream": form.get("stream") in ("true", "True", "1")}
    else:
        body, content_type = request_body.parse(raw), "application/json"
    model = resolve(fleet, body.get("model"))
    has_block = len(raw) > BLOCK_BYTES
    wants_prefix = has_block and POLICIES[model.policy].wants_prefix and len(fleet.engines(model.name)) > 1
    routed = Routed(
        prefix_hashes(body) if wants_prefix else (), _session(request.headers, body), len(raw) // BYTES_PER_TOKEN
    )
    return Job(
        request.path,
        request.headers,
        raw,
        body,
        model,
        routed,
        request_id=request_id,
        arrived=arrived,
        content_type=content_type,
    )


def resolve(fleet: Fleet, asked: Any) -> ModelSettings:
    """Return the model that a request names, or the only one if it names none. Raise ApiError."""
    if asked is None and len(fleet.models) == 1:
        return next(iter(fleet.models.values()))
    if not isinstance(asked, str):
        names = ", ".join(sorted(fleet.models)) or "none yet"
        message = f"`model` must name one of the models: {names}"
        raise ApiError(ErrorKind.INVALID_REQUEST, message, param="model")
    found = fleet.models.get(asked)
    if found is None:
        message = f"The model `{asked[:MAX_SHOWN]}` does not exist."
        raise ApiError(ErrorKind.MODEL_NOT_FOUND, message, param="model")
    return found


def _session(request_headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
    """Return the session that the client names in the header, else OpenAI's `prompt_cache_key` or `user`."""
    named = request_headers.get(headers.SESSION) or body.get("prompt_cache_key") or body.get("user")
    return named if isinstance(named, str) else None
