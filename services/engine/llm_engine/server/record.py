"""The record of one generation request: its spans and its line in the log, written when it has ended.

engine.request        the server span; the incoming `traceparent` is its parent
├─ engine.queue       arrival to the first step
├─ engine.prefill     first step to first token
└─ engine.decode      first token to last token

Each answer has its own three phases. The scheduler keeps their times anyway, so tracing costs the step loop nothing:
the spans are built from these times in the event loop, after the last byte. Attributes are numbers and names, by
OpenTelemetry's conventions for generative AI and, for `gen_ai.latency.…` and `gen_ai.request.id`, by vLLM's. None holds
text of the prompt or the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from llm_contract import headers, logs
from llm_contract.errors import ErrorKind
from llm_contract.logs import AccessLines
from llm_contract.openai import GenerationRequest
from llm_engine.request.preparation import Prepared
from llm_engine.scheduler.sequence import FinishReason, Progress, Sequence
from llm_engine.server.request_id import ASGIApp, Message, Receive, Send
from llm_proxy.outcomes import OK
from llm_proxy.telemetry.tracing import INPUT_TOKENS, MAX_TOKENS, MODEL, OUTPUT_TOKENS, STREAM, Trace, Tracing, Value

QUEUE, PREFILL, DECODE = "engine.queue", "engine.prefill", "engine.decode"
RESPONSE_MODEL, FINISH_REASONS = "gen_ai.response.model", "gen_ai.response.finish_reasons"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REQUEST_ID, CHOICES = "gen_ai.request.id", "gen_ai.request.choice.count"
TIME_IN_QUEUE, TIME_TO_FIRST_TOKEN = "gen_ai.latency.time_in_queue", "gen_ai.latency.time_to_first_token"
PREFILL_TIME, DECODE_TIME = "gen_ai.latency.time_in_model_prefill", "gen_ai.latency.time_in_model_decode"
CHOICE = "llm_engine.choice"
"""Number of the answer among those of one request."""
PREFILL_STEPS, PREEMPTIONS = "llm_engine.prefill_steps", "llm_engine.preemptions"
DRAFTS, ACCEPTED = "llm_engine.draft_tokens", "llm_engine.accepted_tokens"

MOST_TRACED_CHOICES = 16
"""Answers of one request that get spans; the request's own attributes count all."""
ASKED = ("max_tokens", "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
"""Fields of a request that become gen_ai.request.NAME. Stop sequences are text, so they do not."""
PATHS = ("/v1/completions", "/v1/chat/completions")

Phase = tuple[str, float, float, dict[str, Value]]
"""(name, begin, end, attributes); times on the monotonic clock."""


class Recording:
    """ASGI middleware that makes a record of each generation request, as `request.state.record`."""

    def __init__(self, app: ASGIApp, tracing: Tracing, model: str, access_log: AccessLines) -> None:
        self._app = app
        self._tracing = tracing
        self._model = model
        self._access_log = access_log

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(PATHS):
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        record = state["record"] = RequestRecord(self._tracing, scope, self._model)
        try:
            await self._app(scope, receive, send)
        except Exception:
            state.update(outcome=ErrorKind.INTERNAL.label, status=ErrorKind.INTERNAL.status)
            raise
        finally:
            record.end(self._access_log, state)


class RequestRecord:
    """One request from its headers to its last byte."""

    def __init__(self, tracing: Tracing, scope: Message, model: str) -> None:
        found = _trace_headers(scope)
        self._request = f"{scope['method']} {scope['path']}"
        self._model = model
        self._begun = time.monotonic()
        self._trace: Trace = tracing.begin(found, scope["path"])
        self._body: GenerationRequest | None = None
        self._sequences: list[Sequence] = []
        self._request_id: str = scope["state"]["request_id"]
        self.trace_id = self._trace.trace_id or headers.trace_id(found)
        logs.concern(self._request_id, self.trace_id)

    def begin(self, body: GenerationRequest, prepared: list[Prepared]) -> None:
        """Note the answers that the engine is about to compute."""
        self._body = body
        self._sequences = [choice.sequence for item in prepared for choice in item.choices]
        if self._trace.is_recording:
            for sequence in self._sequences[:MOST_TRACED_CHOICES]:
                sequence.progress = Progress()

    def end(self, access_log: AccessLines, state: Mapping[str, Any]) -> None:
        """Write the spans and the line in the log. `state` has the answer's status, and an outcome if it failed."""
        outcome = state.get("outcome") or _outcome(self._sequences)
        status = state.get("status", ErrorKind.CLIENT_CLOSED.status)
        if self._trace.is_recording:
            self._describe()
            self._record_phases()
        self._trace.end(outcome, status)
        seconds = time.monotonic() - self._begun
        logs.request_ended(access_log, self._request, status=status, outcome=outcome, seconds=seconds)

    def _describe(self) -> None:
        trace, sequences = self._trace, self._sequences
        trace.set(REQUEST_ID, self._request_id)
        if self._body is None:
            return  # it was refused before it could be read
        trace.set(RESPONSE_MODEL, self._model)
        trace.set(MODEL, self._body.model)
        trace.set(STREAM, self._body.stream)
        trace.set(CHOICES, len(sequences))
        for name in ASKED:
            trace.set(f"gen_ai.request.{name}", getattr(self._body, name, None))
        if (limit := getattr(self._body, "max_completion_tokens", None)) is not None:
            trace.set(MAX_TOKENS, limit)
        trace.set(INPUT_TOKENS, sum(each.num_prompt_tokens for each in sequences if each.leader is None))
        trace.set(OUTPUT_TOKENS, sum(map(_output_tokens, sequences)))
        trace.set(CACHED_TOKENS, sum(each.num_cached_tokens for each in sequences if each.leader is None))
        trace.set(PREEMPTIONS, sum(each.num_preemptions for each in sequences))
        trace.set(FINISH_REASONS, tuple((each.finish_reason or FinishReason.ABORT).value for each in sequences))
        first = sequences[0]
        if first.first_token_time is not None:
            trace.set(TIME_TO_FIRST_TOKEN, first.first_token_time - first.arrival_time)

    def _record_phases(self) -> None:
        traced = [each for each in self._sequences if each.progress is not None and each.arrival_time]
        for number, sequence in enumerate(traced):
            events = sequence.progress.events if sequence.progress is not None else []
            for name, begin, end, attributes in _phases(sequence):
                if len(traced) > 1:
                    attributes[CHOICE] = number
                within = [event for event in events if begin <= event[1] < end]
                self._trace.record(name, begin, end, attributes, events=within)


def _phases(sequence: Sequence) -> Iterator[Phase]:
    """Yield the phases that have begun. The last one of an aborted sequence ends now."""
    first, last = sequence.first_token_time, sequence.last_token_time  # read before the time that precedes them
    scheduled, arrival = sequence.first_scheduled_time, sequence.arrival_time
    ended_well = sequence.finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
    now = time.monotonic()
    queued = (scheduled or now) - arrival
    yield QUEUE, arrival, scheduled or now, {TIME_IN_QUEUE: queued}
    if scheduled is None:
        return
    progress = sequence.progress or Progress()
    prompt: dict[str, Value] = {INPUT_TOKENS: sequence.num_prompt_tokens, CACHED_TOKENS: sequence.num_cached_tokens}
    prompt[PREFILL_STEPS] = progress.num_prefill_steps
    yield PREFILL, scheduled, first or now, prompt | {PREFILL_TIME: (first or now) - scheduled}
    if first is None:
        return
    end = last if ended_well and last is not None else now
    output: dict[str, Value] = {OUTPUT_TOKENS: _output_tokens(sequence), PREEMPTIONS: sequence.num_preemptions}
    if progress.num_drafts:
        output |= {DRAFTS: progress.num_drafts, ACCEPTED: progress.num_accepted_drafts}
    yield DECODE, first, end, output | {DECODE_TIME: end - first}


def _output_tokens(sequence: Sequence) -> int:
    return sequence.num_output_tokens - sequence.ends_in_placeholder


def _outcome(sequences: list[Sequence]) -> str:
    """Return how a request ended that was answered with 200: a stream can break after its headers."""
    reasons = {each.finish_reason for each in sequences}
    if FinishReason.ERROR in reasons:
        return ErrorKind.INTERNAL.label
    if None in reasons or FinishReason.ABORT in reasons:
        return ErrorKind.CLIENT_CLOSED.label
    return OK


def _trace_headers(scope: Message) -> dict[str, str]:
    wanted = (b"traceparent", b"tracestate")
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}
