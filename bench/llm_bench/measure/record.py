"""One request's record: when it was due, when each event happened, its tokens, its outcome.

Times ending in `_at` are seconds from the start of the run. Latencies come twice. The headline counts from the
*scheduled* time, as a user who came at that moment would. This cures coordinated omission: a client that falls behind
makes its latencies longer instead of hiding them (MLPerf's definition). The other counts from the actual send.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import orjson

from llm_bench.client.exchange import Exchange
from llm_bench.measure.stream import StreamReading, read_stream
from llm_bench.workload.scenario import Slo
from llm_bench.workload.schedule import PlannedRequest

OK = "ok"
REJECTED = "rejected"
"""Refused on purpose: 429, or 408 and 503 from a full queue. It misses its SLO like any failure."""
NOT_SENT = "not_sent"
INCOMPLETE = "incomplete"

_REJECTIONS = frozenset({408, 429, 503})


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    index: int
    class_name: str
    scheduled_at: float | None
    """None until the end of an earlier answer decides it: in a closed loop, and after the first turn."""
    planned_prompt_tokens: int
    max_tokens: int
    """Output tokens asked for."""
    prompt_tokens: int = 0
    """The server's count; the planned number if it sent none."""
    sent_at: float | None = None
    headers_at: float | None = None
    ended_at: float | None = None
    status: int = 0
    outcome: str = NOT_SENT
    """`ok`, `rejected`, `incomplete`, `not_sent`, or the kind of error: `connect`, `timeout`, `reset`, `protocol`,
    `not_sse`, `truncated`, `stream_error`, `no_tokens`, `http_<status>`."""
    detail: str = ""
    output_tokens: int = 0
    counted_by_server: bool = False
    chunk_times: list[float] = field(default_factory=list)
    """When each chunk of tokens arrived."""
    chunk_tokens: list[int] = field(default_factory=list)
    text_events: int = 0
    """Events with text; each can hold several tokens."""
    tokens_located: bool = True
    """Whether `chunk_tokens` is known; False if the server's total was spread over events of several tokens each."""
    follows: int | None = None
    """Index of the turn before in its conversation."""
    think_seconds: float = 0.0
    """Pause between the end of the earlier answer and this request."""
    tenant: str | None = None
    model: str | None = None
    """Asked for instead of the run's."""

    @property
    def ok(self) -> bool:
        return self.outcome == OK

    @property
    def first_token_at(self) -> float | None:
        return self.chunk_times[0] if self.chunk_times else None

    @property
    def schedule_lag(self) -> float | None:
        """Seconds by which the client sent the request late."""
        return self._since_scheduled(self.sent_at)

    @property
    def ttft(self) -> float | None:
        """Scheduled time to first token with text."""
        return self._since_scheduled(self.first_token_at)

    @property
    def ttft_from_send(self) -> float | None:
        if self.first_token_at is None or self.sent_at is None:
            return None
        return self.first_token_at - self.sent_at

    @property
    def e2e(self) -> float | None:
        """Scheduled time to last byte."""
        return self._since_scheduled(self.ended_at)

    @property
    def tpot(self) -> float | None:
        """(E2E - TTFT) / (n - 1); None for a single token."""
        if self.ended_at is None or self.first_token_at is None or self.output_tokens < 2:
            return None
        return (self.ended_at - self.first_token_at) / (self.output_tokens - 1)

    def token_gaps(self) -> list[float]:
        """Return the seconds between each token and the next, [] if the tokens of the chunks are not known.

        The tokens of one chunk share its gap evenly.
        """
        if not self.tokens_located:
            return []
        held = [(at, tokens) for at, tokens in zip(self.chunk_times, self.chunk_tokens, strict=False) if tokens]
        return [(at - before) / tokens for (before, _), (at, tokens) in pairwise(held) for _ in range(tokens)]

    def chunk_gaps(self) -> list[float]:
        """Return the seconds between each chunk and the next."""
        return [after - before for before, after in pairwise(self.chunk_times)]

    def meets(self, slo: Slo) -> bool:
        """Return whether the request ended well and within every bound of `slo`."""
        bounds = ((self.ttft, slo.ttft), (self.tpot, slo.tpot), (self.e2e, slo.e2e))
        return self.ok and all(limit is None or (value or 0.0) <= limit for value, limit in bounds)

    def _since_scheduled(self, at: float | None) -> float | None:
        return None if at is None or self.scheduled_at is None else at - self.scheduled_at


def plan_record(planned: PlannedRequest) -> RequestRecord:
    """Return the record of a request that has not been sent."""
    return RequestRecord(
        index=planned.index,
        class_name=planned.class_name,
        scheduled_at=planned.scheduled_at,
        planned_prompt_tokens=planned.prompt_tokens,
        max_tokens=planned.max_tokens,
        prompt_tokens=planned.prompt_tokens,
        follows=planned.follows,
        think_seconds=planned.think_seconds,
        tenant=planned.tenant,
        model=planned.model,
    )


def fill_record(record: RequestRecord, exchange: Exchange, epoch: float) -> None:
    """Fill in the record from its exchange; `epoch` is the start of the run on the exchange's clock."""
    reading = read_stream(exchange.chunks)
    record.sent_at = exchange.sent_at - epoch
    record.headers_at = None if exchange.headers_at is None else exchange.headers_at - epoch
    record.ended_at = exchange.ended_at - epoch
    record.status = exchange.status
    record.outcome, record.detail = _outcome(exchange, reading)
    record.chunk_times = [at - epoch for at in reading.chunk_times]
    record.chunk_tokens = reading.chunk_tokens
    record.text_events, record.tokens_located = reading.text_events, reading.tokens_located
    record.prompt_tokens = reading.prompt_tokens or record.prompt_tokens
    record.counted_by_server = reading.output_tokens is not None
    record.output_tokens = sum(reading.chunk_tokens) if reading.output_tokens is None else reading.output_tokens


def _outcome(exchange: Exchange, reading: StreamReading) -> tuple[str, str]:
    if exchange.failure:
        return exchange.failure, exchange.detail
    if exchange.status != 200:
        kind = REJECTED if exchange.status in _REJECTIONS else f"http_{exchange.status}"
        return kind, _body_message(exchange)
    if not exchange.content_type.strip().lower().startswith("text/event-stream"):
        return "not_sse", f"answered {exchange.content_type or 'no content type'} where an event stream was asked for"
    if reading.error is not None:
        return "stream_error", reading.error
    if not reading.finished:
        return "truncated", "the stream ended without [DONE]"
    if not reading.chunk_times:
        return "no_tokens", "the stream held no token"
    return OK, ""


def _body_message(exchange: Exchange) -> str:
    """Return the message of an OpenAI error object, or the start of any other body."""
    body = b"".join(data for _, data in exchange.chunks)
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body[:200].decode("utf-8", "replace").split())
