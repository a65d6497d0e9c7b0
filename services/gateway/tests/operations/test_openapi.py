from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from llm_contract.errors import ErrorResponse
from llm_contract.testing import ScriptedEngine
from llm_gateway.operations import openapi
from llm_gateway.tenancy.keys import key_hash
from llm_gateway.testing import RunningGateway

DOCUMENT = openapi.document(["interactive", "standard"], keys_required=False, longest_window=3600)


async def test_it_is_served_and_names_the_classes_there_are(client: aiohttp.ClientSession) -> None:
    async with (
        RunningGateway("http://127.0.0.1:9") as gateway,
        client.get(f"{gateway.url}/openapi.json") as response,
    ):
        assert response.status == 200
        document = await response.json()
    parameter = document["paths"]["/v1/completions"]["post"]["parameters"][0]
    assert (parameter["name"], parameter["schema"]["enum"]) == ("x-priority", ["interactive", "standard", "batch"])
    assert "securitySchemes" not in document["components"]


async def test_every_route_is_in_it_and_nothing_else() -> None:
    async with RunningGateway("http://127.0.0.1:9") as gateway:
        routes = {
            (route.method, route.resource.canonical)
            for route in gateway.parts.app().router.routes()
            if route.resource is not None and route.method != "*"
        }
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == {(method, path) for method, path in routes if method != "HEAD"}


def test_all_references_lead_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {reference.removeprefix("#/components/schemas/") for reference in _references(DOCUMENT)} == set(schemas)


def test_with_keys_it_says_so() -> None:
    document = openapi.document([], keys_required=True, longest_window=3600)
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"key": []}]
    assert "security" not in document["paths"]["/health"]["get"]


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/completions", {"prompt": "x", "max_tokens": 2}, {}),
        ("/v1/completions", {"prompt": "x", "priority": 2**63 - 1}, {}),
        ("/v1/completions", {"prompt": "x", "priority": "high"}, {}),
        ("/v1/completions", [], {}),
        ("/v1/chat/completions", {"messages": []}, {}),
        ("/v1/chat/completions", {"messages": [], "priority": None}, {"x-priority": "vip"}),
        ("/v1/completions", {"prompt": "x", "model": "other"}, {}),
        ("/tokenize", {"prompt": "x"}, {}),
    ],
)
async def test_answers_are_as_it_says(
    client: aiohttp.ClientSession, path: str, body: Any, headers: dict[str, str]
) -> None:
    tenants = [{"name": "blue", "keys": [key_hash("k")]}]
    async with ScriptedEngine() as engine, RunningGateway(engine.url, tenants=tenants) as gateway:
        async with client.post(gateway.url + path, json=body, headers=headers) as response:
            said = DOCUMENT["paths"][path]["post"]["responses"][str(response.status)]
            schema = said["content"]["application/json"]["schema"]
            answer = await response.json()
        if schema != openapi.ERROR_REF:
            assert (schema, type(answer)) == ({"type": "object"}, dict)
        else:
            assert ErrorResponse.model_validate(answer, strict=True).model_dump() == answer


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*map(_references, value.values()))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    return set()
