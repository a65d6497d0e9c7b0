"""One client request on its way through the gateway: its facts, its result, and the headers in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm_contract import headers
from llm_gateway.engines import Engine
from llm_gateway.request.classify import Targets
from llm_gateway.tenancy.rate_limit import Grant
from llm_gateway.tenancy.tenants import ANONYMOUS_TENANT, Tenant
from llm_gateway.waiting import Waiting
from llm_proxy.stream.token_counts import TokenCounts
from llm_proxy.telemetry.tracing import NO_TRACE, Trace

PASSED_ON = (
    headers.SLO_TTFT_MS,
    headers.SLO_TPOT_MS,
    headers.DEADLINE_MS,
    headers.TRACEPARENT,
    "tracestate",
)
"""Request headers that are sent to the engine unchanged."""


@dataclass(slots=True, eq=False, kw_only=True)
class Exchange:
    """The facts about one request. The handlers fill it in; the ledger reads it when the request has ended."""

    request_id: str
    arrived: float
    """Time of arrival on the gateway's monotonic clock, seconds. All durations below are in seconds as well."""
    trace: Trace = NO_TRACE
    tenant: Tenant = ANONYMOUS_TENANT
    class_name: str = ""
    targets: Targets | None = None
    grant: Grant | None = None
    """The rate limiter's answer, if the tenant has limits."""
    waiting: Waiting | None = None
    authorization: str | None = None
    """The client's Authorization header, if it is meant for the engine."""
    body_bytes: int = 0
    """Size of the body; 0 for a form, whose size says nothing about the prompt."""
    content_type: str = "application/json"
    """Type of the body that is sent to the engine."""
    generates: bool = True
    """The endpoint generates text. The estimator ignores all others."""
    streamed: bool = False
    queue_wait: float | None = None
    """Time in the queue over all attempts; None before the first."""
    ttft: float | None = None
    """Time from arrival to the first byte of the answer."""
    attempts: int = 0
    preempted: int = 0
    engine: str = ""
    """Name of the engine that answered last."""
    shown_engine: str = ""
    """The name that the client sees for it."""
    prompt_tokens: int = 0
    """The engine's count, else the estimate; 0 if nothing was processed."""
    output_tokens: int = 0
    """The engine's count, else the number of events, else the estimate."""
    counted: bool = False
    """Both counts are the engine's own."""

    def count(self, stated: TokenCounts | None, seen: int) -> None:
        """Set the token counts to those that the engine stated, else to the estimated prompt and `seen` tokens."""
        estimated = self.waiting.prompt_tokens if self.waiting is not None else 0
        self.counted = stated is not None
        self.prompt_tokens, self.output_tokens = stated or (estimated, seen)

    def answered_by(self, engine: Engine) -> None:
        self.engine, self.shown_engine = engine.name, engine.shown

    def response_headers(self) -> dict[str, str]:
        found = {headers.REQUEST_ID: self.request_id}
        if self.class_name:
            found[headers.PRIORITY] = self.class_name
        if self.queue_wait is not None:
            found[headers.QUEUE_WAIT_MS] = f"{self.queue_wait * 1000:.1f}"
        if self.shown_engine:
            found[headers.ENGINE] = self.shown_engine
        if self.grant is not None:
            found |= self.grant.headers()
        return found

    def engine_headers(self, request_headers: Mapping[str, str], engine: Engine) -> dict[str, str]:
        """Return the headers for the engine. Tenant and class are those that admission decided.

        Authorization is the engine's own key, else the header that the client sent for it. A client's key to the
        gateway is never passed on.
        """
        sent = {name: request_headers[name] for name in PASSED_ON if name in request_headers}
        if self.tenant.name:
            sent[headers.TENANT] = self.tenant.name
        if self.class_name:
            sent[headers.PRIORITY] = self.class_name
        sent[headers.REQUEST_ID] = self.request_id
        sent["content-type"] = self.content_type
        authorization = engine.authorization or self.authorization
        if authorization is not None:
            sent[headers.AUTHORIZATION] = authorization
        return sent
