"""Admission: identify the tenant and class, estimate the cost, and apply the limits.

Admission refuses a request before it waits: for a missing key, a malformed body, an unknown class, or a tenant above
its limit. The cost is a prediction (estimate.py). It is settled with the actual cost when the request has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from llm_contract import headers
from llm_gateway.classes import ClassTable
from llm_gateway.engines import EnginePool
from llm_gateway.engines.models import Models
from llm_gateway.request.classify import Targets, classify, targets
from llm_gateway.request.estimate import OutputEstimator, PromptEstimator
from llm_gateway.request.exchange import Exchange
from llm_gateway.settings import GatewaySettings
from llm_gateway.tenancy.rate_limit import Limiter, refusal
from llm_gateway.tenancy.tenants import TenantTable
from llm_gateway.tenancy.usage import UsageBook
from llm_gateway.waiting import Waiting
from llm_proxy.request import body as request_body
from llm_proxy.request.endpoints import QUEUED
from llm_proxy.request.form import Form
from llm_proxy.request.json_fields import edit
from llm_proxy.request.prefix import prefix_hashes


@dataclass(slots=True, eq=False)
class Job:
    """An admitted request."""

    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any]
    waiting: Waiting
    exchange: Exchange


class Admission:
    """Turns a request into a job, or refuses it."""

    def __init__(
        self,
        settings: GatewaySettings,
        classes: ClassTable,
        tenants: TenantTable,
        *,
        limiter: Limiter,
        usage: UsageBook,
        prompts: PromptEstimator,
        outputs: OutputEstimator,
        models: Models,
        pool: EnginePool,
    ) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._body_timeout = settings.edge.body_timeout
        self._classes = classes
        self._tenants = tenants
        self._limiter = limiter
        self._usage = usage
        self._prompts = prompts
        self._outputs = outputs
        self._models = models
        self._pool = pool

    async def admit(self, request: web.Request, exchange: Exchange) -> Job:
        """Return the job for a request, and note its facts in `exchange`. Raise ApiError if it is refused."""
        exchange.tenant = tenant = self._tenants.authenticate(request.headers)
        exchange.authorization = self._tenants.authorization_for(None, request.headers)
        endpoint = QUEUED[request.path]
        raw = await request_body.read(request, self._max_body_bytes, self._body_timeout)
        form = Form(raw, request.headers.get("content-type", "")) if endpoint.is_form else None
        body = request_body.parse(raw) if form is None else {"model": form.get("model"), "stream": _is_true(form)}
        cls = classify(self._classes, request.headers, body, tenant.default, most_urgent=tenant.most_urgent)
        exchange.class_name = cls.name
        model = self._models.resolve(_model(body))
        if model is not None and model != _model(body):
            raw = edit(raw, {"model": orjson.dumps(model)}) if form is None else form.replaced("model", model)
            body = {**body, "model": model}
        exchange.targets = promised = targets(cls, request.headers)
        exchange.generates = endpoint.generates
        if form is None:
            exchange.body_bytes = len(raw)
        else:
            exchange.content_type = request.headers.get("content-type", "")
        exchange.streamed = body.get("stream") is True
        waiting = Waiting(
            cls,
            exchange.arrived,
            tenant=tenant.name,
            weight=tenant.weight,
            prompt_tokens=self._prompts.predict(exchange.body_bytes),
            output_tokens=(
                self._outputs.predict(cls.name, tenant.name, max_tokens(body)).mean if endpoint.generates else 1
            ),
            deadline=exchange.arrived + _first_token_within(promised),
            session=request.headers.get(headers.SESSION),
            prefix=prefix_hashes(body) if self._pool.wants_prefix else (),
            model=model,
            request_id=exchange.request_id,
            trace_id=headers.trace_id(request.headers),
        )
        await self._charge(exchange, waiting.prompt_tokens + waiting.output_tokens)
        exchange.waiting = waiting
        return Job(request.path, request.headers, raw, body, waiting, exchange)

    async def _charge(self, exchange: Exchange, tokens: int) -> None:
        tenant = exchange.tenant
        if tenant.limits is not None:
            exchange.grant = grant = await self._limiter.acquire(tenant.name, tenant.limits, tokens)
            if grant.refused_by:
                self._usage.limited(tenant.label, grant.refused_by)
                raise refusal(grant)
        self._usage.of(tenant.label).requests += 1


def max_tokens(body: Mapping[str, Any]) -> int | None:
    """Return the request's limit on output tokens, None without one. The engine refuses a malformed limit."""
    asked = body.get("max_completion_tokens", body.get("max_tokens", body.get("max_output_tokens")))
    return asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else None


def _model(body: Mapping[str, Any]) -> str | None:
    """Return the request's model, None without one. The engine refuses a model that is not a string."""
    asked = body.get("model")
    return asked if isinstance(asked, str) else None


def _is_true(form: Form) -> bool:
    return (form.get("stream") or "").lower() in ("true", "1")


def _first_token_within(promised: Targets) -> float:
    """Return the seconds from arrival to the latest first token: a deadline for the end bounds the start as well."""
    return promised.ttft if promised.deadline is None else min(promised.ttft, promised.deadline)
