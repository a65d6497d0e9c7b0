"""The gateway's OpenAPI 3.1 document, served at /openapi.json.

It states exactly what the gateway itself checks: a generation request is a JSON object whose `priority`, if present, is
an integer. The document names the fields that an engine reads, but the engine checks them, and its 400 or 404 passes
through unchanged. A test or a fuzzer can rely on every status and body below.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_contract import headers
from llm_proxy.request.endpoints import QUEUED, Endpoint

JSON = dict[str, Any]

VERSION = "1"
SHORTEST_WINDOW = 60

ERROR_REF = {"$ref": "#/components/schemas/Error"}

STATUSES = {
    "400": "The request is invalid; the message says why.",
    "401": "A key is required.",
    "404": "There is no such path or model.",
    "405": "The path does not accept the method.",
    "408": "The request took too long to arrive, or waited too long.",
    "413": "The body is too large.",
    "417": "The expectation is not 100-continue.",
    "429": "The queue is full, or the tenant is at its limit; Retry-After says when to come back.",
    "431": "The headers are too large or too many.",
    "502": "An engine failed.",
    "503": "No engine is up, or the gateway is draining.",
}

NEED_A_KEY = (
    *QUEUED,
    *("/v1/models", "/v1/models/{id}", "/version", "/tokenize", "/detokenize"),
)

FIELDS_FOR_THE_ENGINE = ("model", "prompt", "messages", "max_tokens", "temperature", "top_p", "stop", "stream")


def document(classes: Iterable[str], *, keys_required: bool, longest_window: int) -> JSON:
    """Return the document. `classes` are the values of `x-priority`; /sla covers at most `longest_window` seconds."""
    queued = {path: {"post": _queued(path, endpoint, list(classes))} for path, endpoint in QUEUED.items()}
    found: JSON = {
        "openapi": "3.1.0",
        "info": {
            "title": "Priority scheduler gateway",
            "version": VERSION,
            "description": "OpenAI-compatible; decides which request an engine runs next.",
        },
        "paths": {
            **queued,
            "/v1/models": {"get": _passed_on("List the models", "models")},
            "/v1/models/{id}": {"get": _one_model()},
            "/version": {"get": _passed_on("Show the version of an engine", "version")},
            "/tokenize": {"post": _passed_on("Convert text to tokens", "tokenize", has_body=True)},
            "/detokenize": {"post": _passed_on("Convert tokens to text", "detokenize", has_body=True)},
            "/health": {"get": _plain("Report that the process is alive", "health", "200")},
            "/ready": {"get": _plain("Report whether the gateway takes requests", "ready", "200", "503")},
            "/metrics": {"get": _page("Show the metrics in Prometheus's text format", "metrics", "text/plain", "401")},
            "/sla": {"get": _look_back(_plain("Show the service levels", "sla", "200", "400", "401"), longest_window)},
            "/sla/report": {
                "get": _look_back(
                    _page("Show the service levels as a page", "report", "text/html", "400", "401"), longest_window
                )
            },
            "/openapi.json": {"get": _plain("Show this document", "openapi", "200")},
        },
        "components": {"schemas": {"Error": _error(), "GenerationRequest": _generation_request(), "Form": _form()}},
    }
    if keys_required:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path in NEED_A_KEY:
            for operation in found["paths"][path].values():
                operation["security"] = [{"key": []}]
    return found


def _queued(path: str, endpoint: Endpoint, classes: list[str]) -> JSON:
    kind, schema = "application/json", {"$ref": "#/components/schemas/GenerationRequest"}
    if endpoint.is_form:
        kind, schema = "multipart/form-data", {"$ref": "#/components/schemas/Form"}
    body: JSON = {kind: {"schema": schema}}
    answer = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "summary": endpoint.summary,
        "operationId": path.strip("/").replace("/", "_"),
        "parameters": _parameters(classes),
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "The engine's answer: one object, or a stream of events.", "content": answer},
            **_errors(*STATUSES),
        },
    }


def _parameters(classes: list[str]) -> list[JSON]:
    milliseconds = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12}
    described = (
        (headers.PRIORITY, {"type": "string", "enum": classes}, "Priority class."),
        (headers.SLO_TTFT_MS, milliseconds, "Target for the time to the first token, in milliseconds."),
        (headers.SLO_TPOT_MS, milliseconds, "Target for the time per further token, in milliseconds."),
        (headers.DEADLINE_MS, milliseconds, "Target for the time to the last token, in milliseconds."),
        (
            headers.REQUEST_ID,
            {"type": "string"},
            "Request id; kept if it is printable and not too long, else replaced.",
        ),
    )
    return [{"name": name, "in": "header", "schema": schema, "description": text} for name, schema, text in described]


def _passed_on(summary: str, operation: str, *, has_body: bool = False) -> JSON:
    content = {"application/json": {"schema": {"type": "object"}}}
    statuses = STATUSES if has_body else ("401", "404", "405", "431", "502", "503")
    found: JSON = {
        "summary": summary,
        "operationId": operation,
        "responses": {"200": {"description": "The engine's answer.", "content": content}, **_errors(*statuses)},
    }
    if has_body:
        found["requestBody"] = {"required": True, "content": content}
    return found


def _one_model() -> JSON:
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {**_passed_on("Show one model", "model"), "parameters": [name]}


def _plain(summary: str, operation: str, ok: str, *errors: str) -> JSON:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {ok: {"description": summary, "content": content}, **_errors(*errors, "405", "431")}
    return {"summary": summary, "operationId": operation, "responses": responses}


def _page(summary: str, operation: str, content_type: str, *errors: str) -> JSON:
    ok = {"description": summary, "content": {content_type: {"schema": {"type": "string"}}}}
    return {"summary": summary, "operationId": operation, "responses": {"200": ok, **_errors(*errors, "405", "431")}}


def _look_back(operation: JSON, longest: int) -> JSON:
    """Add the query parameter `window`, in seconds."""
    schema = {"type": "integer", "minimum": SHORTEST_WINDOW, "maximum": longest}
    window = {"name": "window", "in": "query", "schema": schema, "description": "Length of the window, in seconds."}
    return {**operation, "parameters": [window]}


def _errors(*statuses: str) -> JSON:
    content = {"application/json": {"schema": ERROR_REF}}
    return {status: {"description": STATUSES[status], "content": content} for status in statuses}


def _generation_request() -> JSON:
    integer = {"type": ["integer", "null"], "minimum": -(2**63), "maximum": 2**63 - 1}
    return {
        "type": "object",
        "properties": {
            "priority": {
                **integer,
                "description": "vLLM's priority: lower is more urgent. The header x-priority names a class instead.",
            },
            **{name: {"description": "Checked by the engine."} for name in FIELDS_FOR_THE_ENGINE},
        },
        "additionalProperties": True,
    }


def _form() -> JSON:
    return {
        "type": "object",
        "properties": {"model": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
    }


def _error() -> JSON:
    """Return the schema of OpenAI's error object."""
    text_or_null = {"type": ["string", "null"]}
    detail = {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": text_or_null,
            "code": text_or_null,
        },
        "required": ["message", "type", "param", "code"],
    }
    return {"type": "object", "properties": {"error": detail}, "required": ["error"]}
