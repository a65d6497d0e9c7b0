"""One client request as it goes through the gateway: who it is, what became of it, what its headers say about it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from llm_contract import headers
from llm_gateway.engines import Engine
from llm_gateway.request.classify import Targets
from llm_gateway.telemetry.tracing import NO_TRACE, Trace
from llm_gateway.tenancy.rate_limit import Grant
from llm_gateway.tenancy.tenants import NOBODY, Tenant
from llm_gateway.upstream.token_counts import TokenCounts
from llm_gateway.waiting import Waiting

_SAFE_ID = re.compile(r"[\x21-\x7e]{1,128}")

PASSED_ON = (
    headers.SLO_TTFT_MS,
    headers.SLO_TPOT_MS,
    headers.DEADLINE_MS,
    headers.TRACEPARENT,
    "tracestate",
)
"""Request headers that an engine gets as the client sent them."""


@dataclass(slots=True, eq=False, kw_only=True)
class Exchange:
    """Written by whoever handles the request at the time; read when it has ended, by everybody who keeps accounts."""

    request_id: str
    arrived: float
    """On the gateway's monotonic clock, seconds; all durations below are seconds, too."""
    trace: Trace = NO_TRACE
    tenant: Tenant = NOBODY
    class_name: str = ""
    targets: Targets | None = None
    grant: Grant | None = None
    """Grant of the tenant's limits, if it has any."""
    waiting: Waiting | None = None
    authorization: str | None = None
    """The client's, where it is meant for the engine."""
    body_bytes: int = 0
    """0 where they say nothing about the prompt: in a form."""
    content_type: str = "application/json"
    """Type of the body, as an engine gets it."""
    generates: bool = True
    """The endpoint's answer is text; of others the estimator learns nothing."""
    streamed: bool = False
    queue_wait: float | None = None
    """In the queue, over all attempts; None before the first."""
    ttft: float | None = None
    """Arrival to the first byte of the answer."""
    attempts: int = 0
    preempted: int = 0
    engine: str = ""
    """Name of the engine that answered last …"""
    shown_engine: str = ""
    """… and what the client sees in its place."""
    prompt_tokens: int = 0
    """Count by the engine, else the estimate; 0 if nothing was processed."""
    output_tokens: int = 0
    """Count by the engine, else by what passed through, else the estimate."""
    counted: bool = False
    """Both are the engine's own."""

    def count(self, stated: TokenCounts | None, seen: int) -> None:
        """The request took what the engine stated; if it stated nothing, its estimated prompt and `seen` tokens."""
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
        """An engine gets its own key, else what the client sent for it; never the client's key to us.

        Tenant and class are those that were decided, whatever the client's headers say.
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


def request_id(request_headers: Mapping[str, str]) -> str:
    """The client's own, if it is printable and not too long, else a new one."""
    given = request_headers.get(headers.REQUEST_ID)
    return given if given and _SAFE_ID.fullmatch(given) else os.urandom(16).hex()
