"""One trace from the client through gateway and router to the engines, whatever happens to the request on its way."""

from __future__ import annotations

import json
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support import eventually, kill, metric
from support_traces import Span, TracedStack, children, log_lines, not_nested, outline

from llm_lab.ports import HOST
from llm_lab.service import Running

CANARY = "xylophone"
"""A word of prompts and of wrong values that no service can have from elsewhere."""
BODY: dict[str, Any] = {"model": "main", "prompt": f"import {CANARY}", "max_tokens": 12, "ignore_eos": True}
LONG = {**BODY, "max_tokens": 1900, "stream": True}
ENGINE = ["engine.request", ["engine.queue"], ["engine.prefill"], ["engine.decode"]]
ROUTER = ["router.request", ["router.pick"], ["router.upstream", ENGINE]]
TREE = ["gateway.request", ["gateway.admit"], ["gateway.queue"], ["gateway.upstream", ROUTER]]


@dataclass(frozen=True)
class Sent:
    """An answer, and the ids with which its request went out."""

    status: int
    raw: bytes
    trace_id: str
    span_id: str


def send(
    url: str,
    body: dict[str, Any] | bytes,
    path: str = "/v1/completions",
    on_response: Callable[[Any], None] | None = None,
    *,
    sampled: bool = True,
) -> Sent:
    """Send a request with a traceparent. `on_response` gets the open answer before it is read."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "traceparent": f"00-{trace_id}-{span_id}-{int(sampled):02x}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, fields), timeout=60) as response:
            if on_response is not None:
                on_response(response)
            return Sent(response.status, b"" if response.isclosed() else response.read(), trace_id, span_id)
    except urllib.error.HTTPError as error:
        return Sent(error.code, error.read(), trace_id, span_id)


def named(spans: list[Span], name: str) -> Span:
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, [span.name for span in spans]
    return found[0]


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_is_one_tree_whose_times_are_nested(traced_stack: TracedStack, stream: bool) -> None:
    sent = send(traced_stack.gateway.url, {**BODY, "stream": stream})
    assert sent.status == 200
    spans = traced_stack.receiver.trace(sent.trace_id, roots=3)
    assert outline(spans, sent.span_id) == [TREE]
    assert not_nested(spans) == []
    queue, prefill, decode = children(spans, named(spans, "engine.request"))
    assert queue.end == prefill.begin
    assert prefill.end == decode.begin
    assert {span.service for span in spans} == {"llm-gateway", "llm-router", "llm-engine"}


def test_the_engines_attributes_follow_the_conventions(traced_stack: TracedStack) -> None:
    asked = {**BODY, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": [CANARY]}
    sent = send(traced_stack.gateway.url, asked)
    usage = json.loads(sent.raw)["usage"]
    spans = traced_stack.receiver.trace(sent.trace_id, roots=3)
    found = named(spans, "engine.request").attributes
    expected = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": "main",
        "gen_ai.response.model": "main",
        "gen_ai.request.max_tokens": 12,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stream": False,
        "gen_ai.request.choice.count": 1,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        "gen_ai.response.finish_reasons": ["length"],
        "llm_engine.preemptions": 0,
        "llm_engine.outcome": "ok",
        "http.response.status_code": 200,
    }
    assert found | expected == found
    assert found["gen_ai.latency.time_to_first_token"] > 0
    assert named(spans, "engine.decode").attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]


def test_each_of_several_answers_has_its_phases(traced_stack: TracedStack) -> None:
    sent = send(traced_stack.gateway.url, {**BODY, "n": 3})
    spans = traced_stack.receiver.trace(sent.trace_id, roots=3)
    request = named(spans, "engine.request")
    assert request.attributes["gen_ai.response.finish_reasons"] == ["length"] * 3
    assert request.attributes["gen_ai.usage.output_tokens"] == 3 * BODY["max_tokens"]
    decodes = [span for span in spans if span.name == "engine.decode"]
    assert sorted(span.attributes["llm_engine.choice"] for span in decodes) == [0, 1, 2]
    assert not_nested(spans) == []


def test_a_request_that_the_client_did_not_sample_has_no_span(traced_stack: TracedStack) -> None:
    unsampled = send(traced_stack.gateway.url, BODY, sampled=False)
    assert (unsampled.status, send(traced_stack.gateway.url, BODY).status) == (200, 200)
    last = send(traced_stack.gateway.url, BODY)
    traced_stack.receiver.trace(last.trace_id, roots=3)
    assert unsampled.trace_id not in traced_stack.receiver.traces


def test_a_client_that_hangs_up_is_seen_in_every_service(traced_stack: TracedStack) -> None:
    def hang_up(response: Any) -> None:
        response.readline()
        response.close()

    sent = send(traced_stack.gateway.url, LONG, on_response=hang_up)
    spans = traced_stack.receiver.trace(sent.trace_id, roots=3)
    outcomes = {span.name: value for span in spans for key, value in span.attributes.items() if "outcome" in key}
    assert outcomes == dict.fromkeys(("gateway.request", "router.request", "engine.request"), "client_closed")
    assert named(spans, "engine.request").attributes["gen_ai.response.finish_reasons"] == ["abort"]
    assert not_nested(spans) == []


def test_a_replayed_stream_has_both_attempts_in_one_trace(own_stack: TracedStack) -> None:
    killed: list[Running] = []

    def kill_its_engine(response: Any) -> None:
        response.readline()
        killed.extend(one for one in own_stack.engines if metric(one.url, "vllm:num_requests_running"))
        kill(killed[0])

    sent = send(own_stack.gateway.url, LONG, on_response=kill_its_engine)
    assert sent.raw.endswith(b"data: [DONE]\n\n")
    spans = own_stack.receiver.trace(sent.trace_id, roots=3)
    router = named(spans, "router.request")
    assert router.attributes["llm_router.outcome"] == "ok"
    first, second = (span for span in children(spans, router) if span.name == "router.upstream")
    assert first.attributes["llm_router.engine"] != second.attributes["llm_router.engine"]
    assert "router.replay" in [span.name for span in children(spans, router)]
    assert outline(spans, second.id) == [ENGINE]
    assert outline(spans, first.id) == [], "a killed process sends nothing"


class Refusing(BaseHTTPRequestHandler):
    """An engine that is well but answers every request with 500."""

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": "main", "object": "model", "created": 0, "owned_by": ""}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(500, {"error": {"message": f"cannot read {CANARY}", "type": "server_error", "code": 500}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def refusing_engine() -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_retry_is_a_second_attempt_in_the_same_trace(
    traced_stack: TracedStack, start_traced_gateway: Callable[..., Running]
) -> None:
    with refusing_engine() as refusing:
        gateway = start_traced_gateway(refusing, traced_stack.engines[0].url)
        sent = [send(gateway.url, BODY) for _ in range(4)]  # the prefix balancer takes either engine first
        assert [one.status for one in sent] == [200] * 4
        traces = [traced_stack.receiver.trace(one.trace_id, roots=2) for one in sent]
    attempts = [[span for span in spans if span.name == "gateway.upstream"] for spans in traces]
    failed, succeeded = next(found for found in attempts if len(found) == 2)
    assert failed.failed
    assert failed.attributes["error.type"] == "Refusal"
    assert not succeeded.failed


def test_a_hedged_stream_has_both_engines_in_one_trace(
    traced_stack: TracedStack, start_traced_gateway: Callable[..., Running]
) -> None:
    hedging = {"name": "standard", "priority": 0, "ttft_target": 1, "tpot_target": 1, "hedge_after": 0.001}
    gateway = start_traced_gateway(*(engine.url for engine in traced_stack.engines), classes=[hedging])
    sent = send(gateway.url, {**BODY, "prompt": f"import {CANARY} " * 200, "stream": True})
    assert sent.status == 200
    spans = traced_stack.receiver.trace(sent.trace_id, roots=3)
    upstream = [span for span in spans if span.name == "gateway.upstream"]
    assert len({span.attributes["llm_gateway.engine"] for span in upstream}) == 2
    parents = {span.parent for span in spans if span.name == "engine.request"}
    assert parents == {span.id for span in upstream}


WRONG: list[tuple[str, dict[str, Any] | bytes]] = [
    ("/v1/completions", b'{"model": "main", "prompt": "' + CANARY.encode()),
    ("/v1/completions", {**BODY, "temperature": CANARY}),
    ("/v1/completions", {**BODY, "logit_bias": {CANARY: 1}}),
    ("/v1/completions", {**BODY, "max_tokens": 10**6, "prompt": CANARY * 4000}),
    ("/v1/completions", {**BODY, "structured_outputs": {"regex": f"({CANARY}"}}),
    ("/v1/completions", {**BODY, CANARY: CANARY}),
    ("/v1/chat/completions", {"model": "main", "messages": [{"role": CANARY, "content": [{"type": CANARY}]}]}),
    ("/v1/chat/completions", {"model": "main", "messages": CANARY}),
    ("/v1/chat/completions", {"model": "main", "messages": [{"role": "user", "content": CANARY}], "tools": [CANARY]}),
]


def test_no_text_of_a_request_is_in_a_span_or_a_log(traced_stack: TracedStack) -> None:
    answers = [
        send(edge.url, body, path) for path, body in WRONG for edge in (traced_stack.gateway, *traced_stack.engines)
    ]
    assert {sent.status for sent in answers} <= {200, 400}
    assert sum(sent.status == 400 for sent in answers) >= 3 * (len(WRONG) - 2)
    for sent in answers:
        traced_stack.receiver.trace(sent.trace_id, roots=1)
    answer = send(traced_stack.gateway.url, BODY)
    traced_stack.receiver.trace(answer.trace_id, roots=3)
    written = json.loads(answer.raw)["choices"][0]["text"].strip()
    assert len(written) > 8
    for text in (CANARY, written):
        assert not any(text.encode() in body for body in traced_stack.receiver.bodies)
        assert [one.name for one in traced_stack.services if text in one.log.read_text(encoding="utf-8")] == []


def with_trace(services: list[Running], trace_id: str) -> set[str]:
    """Return the services whose log names the trace, without the number of an engine."""
    lines = [(one.name, line) for one in services for line in log_lines(one.log)]
    return {name.partition("-")[0] for name, line in lines if line.get("trace_id") == trace_id}


def test_each_log_line_of_a_request_has_its_trace_id(traced_stack: TracedStack) -> None:
    refused = send(traced_stack.gateway.url, {**BODY, "temperature": -1})
    assert refused.status == 400
    assert eventually(lambda: with_trace(traced_stack.services, refused.trace_id) == {"gateway", "router", "engine"})
    lines = [line for one in traced_stack.services for line in log_lines(one.log)]
    about = [line for line in lines if line.get("trace_id") == refused.trace_id]
    assert {line["service"] for line in about} == {"llm-gateway", "llm-router", "llm-engine"}
    assert len({line["request_id"] for line in about}) == 1
    assert all({"time", "level", "service", "logger", "message"} <= line.keys() for line in lines)
    assert all(line["time"].endswith("Z") for line in lines)


def test_a_request_that_no_engine_answers_is_logged_by_those_that_saw_it(own_stack: TracedStack) -> None:
    for engine in own_stack.engines:
        kill(engine)
    lost = send(own_stack.gateway.url, BODY)
    assert lost.status in (502, 503)
    assert eventually(lambda: with_trace(own_stack.services, lost.trace_id) == {"gateway", "router"})
    own_stack.receiver.trace(lost.trace_id, roots=2)


def test_a_request_that_waits_too_long_is_logged(
    traced_stack: TracedStack, start_traced_gateway: Callable[..., Running]
) -> None:
    brief = {"name": "standard", "priority": 0, "ttft_target": 1, "tpot_target": 1, "queue_timeout": 0.05}
    gateway = start_traced_gateway(traced_stack.engines[0].url, classes=[brief], max_in_flight=1, access_log="all")
    late: list[Sent] = []
    send(gateway.url, LONG, on_response=lambda response: late.append(send(gateway.url, BODY)))
    assert late[0].status == 408
    assert eventually(lambda: with_trace([gateway], late[0].trace_id) == {"gateway"})
