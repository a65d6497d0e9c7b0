"""Requests that schemathesis generates from the engine's request models: some fit them, some do not."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from pydantic import BaseModel
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from hostile.grammar import CHAT, COMPLETIONS, DETOKENIZE, TOKENIZE, HostileRequest, encode
from llm_contract.openai import DetokenizeRequest, TokenizeRequest
from llm_engine.server.reading.requests import EngineChatRequest, EngineCompletionRequest

MODELS: dict[str, type[BaseModel]] = {
    COMPLETIONS: EngineCompletionRequest,
    CHAT: EngineChatRequest,
    TOKENIZE: TokenizeRequest,
    DETOKENIZE: DetokenizeRequest,
}
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def requests(count: int, number: int) -> list[HostileRequest]:
    """Return `count` requests, the same for the same seed `number`."""
    found_operations = schemathesis.openapi.from_dict(document()).get_all_operations()
    operations = [found.ok() for found in found_operations if isinstance(found, Ok)]
    each = -(-count // (len(operations) * len(MODES)))
    found: list[HostileRequest] = []
    for operation in operations:
        for mode in MODES:
            found += _generate(operation, mode, each, number)
    return found[:count]


def document() -> dict[str, Any]:
    """Return an OpenAPI document of the engine's POST paths."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for path, model in MODELS.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
        answers = {"200": {"description": "The answer."}}
        paths[path] = {"post": {"requestBody": {"required": True, "content": content}, "responses": answers}}
    information = {"title": "llm-engine", "version": "1"}
    return {"openapi": "3.1.0", "info": information, "paths": paths, "components": {"schemas": schemas}}


def _generate(operation: Any, mode: GenerationMode, count: int, number: int) -> list[HostileRequest]:
    found: list[HostileRequest] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(HostileRequest(operation.path, encode(case.body)))

    collect()
    return found
