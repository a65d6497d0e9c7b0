from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from llm_contract.testing import ScriptedEngine
from llm_gateway.testing import RunningGateway
from llm_proxy.edge.cors import CorsSettings

PAGE = "https://page.example"
COMPLETIONS = "/v1/completions"
ALLOW = "access-control-allow-origin"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ([], PAGE, None),
        ([PAGE], PAGE, PAGE),
        ([PAGE], "HTTPS://PAGE.EXAMPLE", "HTTPS://PAGE.EXAMPLE"),
        ([PAGE], "https://other.example", None),
        ([PAGE], "https://page.example.evil", None),
        ([PAGE], "null", None),
        ([PAGE], None, None),
        (["*"], "https://other.example", "*"),
    ],
)
async def test_an_answer_may_be_read_by_pages_of_allowed_origins(
    client: aiohttp.ClientSession, origins: list[str], origin: str | None, allowed: str | None
) -> None:
    headers = {} if origin is None else {"origin": origin}
    bodies: list[dict[str, Any]] = [{"prompt": "x"}, {"prompt": "x", "stream": True}, {"prompt": ""}]
    async with ScriptedEngine() as engine, RunningGateway(engine.url, cors={"origins": origins}) as gateway:
        for body, status in zip(bodies, (200, 200, 400), strict=True):
            async with client.post(gateway.url + COMPLETIONS, json=body, headers=headers) as response:
                assert (response.status, response.headers.get(ALLOW)) == (status, allowed)
                await response.read()
        async with client.get(gateway.url + "/nowhere", headers=headers) as response:
            assert (response.status, response.headers.get(ALLOW)) == (404, allowed)


@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/models"])
@pytest.mark.parametrize(
    ("origins", "status"), [([], 405), (["https://other.example"], 405), ([PAGE], 204), (["*"], 204)]
)
async def test_a_preflight_is_answered_for_allowed_origins_without_a_key(
    client: aiohttp.ClientSession, path: str, origins: list[str], status: int
) -> None:
    async with (
        RunningGateway("http://127.0.0.1:9", cors={"origins": origins}) as gateway,
        client.options(gateway.url + path, headers=PREFLIGHT) as response,
    ):
        assert response.status == status
        if status == 204:
            assert "authorization" in response.headers["access-control-allow-headers"]
            assert "POST" in response.headers["access-control-allow-methods"]
        else:
            assert (await response.json())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("origin", ["page.example", "https://", "https://page.example/", "https://page.example/x", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="not an origin"):
        CorsSettings(origins=(origin,))


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models"])
async def test_head_is_get_without_its_body(client: aiohttp.ClientSession, path: str) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url) as gateway,
        client.head(gateway.url + path) as response,
    ):
        assert (response.status, await response.read()) == (200, b"")
