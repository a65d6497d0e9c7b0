"""A planned request as the bytes of an HTTP/1.1 request, made before the clock starts."""

from __future__ import annotations

from typing import Any

import orjson

from llm_bench.client.credentials import Credentials
from llm_bench.client.target import Target
from llm_bench.workload.scenario import Api
from llm_bench.workload.schedule import PlannedRequest
from llm_contract import headers

CRLF = "\r\n"
_PATHS: dict[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}


def encode_request(
    planned: PlannedRequest, target: Target, api: Api, continuous_usage: bool, *, credentials: Credentials
) -> bytes:
    """Encode a request that streams, samples greedily and generates exactly `max_tokens` tokens."""
    body = orjson.dumps(_body(planned, planned.model or target.model, api, continuous_usage))
    named = {
        "authorization": credentials.header(planned.tenant),
        headers.PRIORITY: planned.class_name,
        headers.TENANT: planned.tenant,
        headers.SESSION: planned.session,
    }
    head = (
        f"POST {target.path}{_PATHS[api]} HTTP/1.1\r\n"
        f"host: {target.host}:{target.port}\r\n"
        "content-type: application/json\r\n"
        "accept: text/event-stream\r\n"
        f"{''.join(f'{name}: {value}{CRLF}' for name, value in named.items() if value)}"
        f"content-length: {len(body)}\r\n"
        "\r\n"
    )
    return head.encode("latin-1") + body


def _body(planned: PlannedRequest, model: str, api: Api, continuous_usage: bool) -> dict[str, Any]:
    stream_options: dict[str, bool] = {"include_usage": True}
    if continuous_usage:
        stream_options["continuous_usage_stats"] = True
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": planned.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": stream_options,
    }
    if api == "chat":
        return body | {"messages": _messages(planned)}
    return body | {"prompt": "".join((*planned.earlier, planned.prompt))}


def _messages(planned: PlannedRequest) -> list[dict[str, str]]:
    said = (*planned.earlier, planned.prompt)
    return [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(said)]
