"""Settlement of a finished request: metrics, the tenant's account, the SLA record and the estimators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from llm_gateway.classes import UNCLASSIFIED
from llm_gateway.metrics import GatewayMetrics
from llm_gateway.request.estimate import OutputEstimator, PromptEstimator
from llm_gateway.request.exchange import Exchange
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.sla.record import SlaRecord
from llm_gateway.sla.tracker import SlaTracker
from llm_gateway.telemetry import spans
from llm_gateway.tenancy.rate_limit import Limiter
from llm_gateway.tenancy.usage import UsageBook
from llm_proxy.outcomes import OK
from llm_proxy.telemetry import tracing


class Ledger:
    """Settles each request. `clock` is monotonic, `wall` is seconds since 1970."""

    def __init__(
        self,
        metrics: GatewayMetrics,
        sla: SlaTracker,
        usage: UsageBook,
        *,
        limiter: Limiter,
        queue: RequestQueue,
        prompts: PromptEstimator,
        outputs: OutputEstimator,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._sla = sla
        self._usage = usage
        self._limiter = limiter
        self._queue = queue
        self._prompts = prompts
        self._outputs = outputs
        self._clock = clock
        self._wall = wall
        self._settling: set[asyncio.Task[None]] = set()

    def close(self, exchange: Exchange, outcome: str, status: int) -> None:
        """Settle a request, exactly once, however it ended. `status` is the HTTP status that was sent."""
        seconds = self._clock() - exchange.arrived
        self._metrics.finished(exchange.class_name or UNCLASSIFIED, outcome)
        if outcome == OK:
            self._metrics.request_took(exchange.class_name, seconds)
            if exchange.generates:
                self._learn(exchange)
        if exchange.waiting is not None:
            self._charge(exchange)
            self._sla.record(self._record(exchange, outcome, seconds))
        if exchange.trace.is_recording:
            _describe(exchange)
            exchange.trace.end(outcome, status)

    def _learn(self, exchange: Exchange) -> None:
        """Update the estimators with counts, by the engine or by events. An estimate would only confirm itself."""
        if exchange.counted or exchange.streamed:
            self._outputs.observe(exchange.class_name, exchange.tenant.name, exchange.output_tokens)
        if exchange.counted:
            self._prompts.observe(exchange.body_bytes, exchange.prompt_tokens)

    def _charge(self, exchange: Exchange) -> None:
        """Charge the tokens that were produced, whether or not the client stayed to receive them."""
        used = self._usage.of(exchange.tenant.label)
        used.prompt_tokens += exchange.prompt_tokens
        used.output_tokens += exchange.output_tokens
        if exchange.waiting is not None and exchange.output_tokens:
            self._queue.charge(exchange.waiting, exchange.output_tokens)
        if exchange.grant is not None and exchange.grant.open:
            self._settle(exchange)

    def _settle(self, exchange: Exchange) -> None:
        """Settle the grant in a task of its own: it can call Redis, and the request's task can be cancelled already."""
        assert exchange.grant is not None
        tokens = exchange.prompt_tokens + exchange.output_tokens
        task = asyncio.ensure_future(self._limiter.settle(exchange.grant, tokens))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _record(self, exchange: Exchange, outcome: str, seconds: float) -> SlaRecord:
        targets = exchange.targets
        return SlaRecord(
            time=self._wall(),
            class_name=exchange.class_name,
            tenant=exchange.tenant.name,
            engine=exchange.engine,
            outcome=outcome,
            streamed=exchange.streamed,
            prompt_tokens=exchange.prompt_tokens,
            output_tokens=exchange.output_tokens,
            queue_wait=exchange.queue_wait,
            ttft=exchange.ttft if exchange.streamed else None,
            tpot=_tpot(exchange, seconds) if outcome == OK else None,
            e2e=seconds,
            ttft_target=targets and targets.ttft,
            tpot_target=targets and targets.tpot,
            deadline=targets and targets.deadline,
            preempted=exchange.preempted,
            attempts=max(1, exchange.attempts),
        )


def _tpot(exchange: Exchange, seconds: float) -> float | None:
    """Return (E2E - TTFT) / (n - 1), seconds per token; None if it was not measured."""
    if not exchange.streamed or exchange.ttft is None or exchange.output_tokens < 2:
        return None
    return (seconds - exchange.ttft) / (exchange.output_tokens - 1)


def _describe(exchange: Exchange) -> None:
    trace = exchange.trace
    trace.set(spans.CLASS, exchange.class_name)
    trace.set(spans.TENANT, exchange.tenant.label)
    trace.set(tracing.STREAM, exchange.streamed)
    trace.set(spans.QUEUE_WAIT, exchange.queue_wait)
    trace.set(tracing.TIME_TO_FIRST_CHUNK, exchange.ttft)
    trace.set(tracing.INPUT_TOKENS, exchange.prompt_tokens or None)
    trace.set(tracing.OUTPUT_TOKENS, exchange.output_tokens or None)
