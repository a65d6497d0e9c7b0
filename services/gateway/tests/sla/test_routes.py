"""/sla and /sla/report over HTTP."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_contract.errors import ApiError
from llm_contract.testing import ScriptedEngine
from llm_gateway.sla.routes import window_seconds
from llm_gateway.sla.testing import record
from llm_gateway.testing import RunningGateway

ALLOWED_WINDOWS = frozenset(map(str, range(60, 86401)))


@pytest.mark.parametrize("path", ["/sla", "/sla/report"])
@pytest.mark.parametrize("window", ["", "x", "-3600", "3600.5", "59", "86401", "1e3", "٣٦٠٠", "9" * 40])
async def test_a_bad_window_is_refused(path: str, window: str, client: aiohttp.ClientSession) -> None:
    async with (
        ScriptedEngine() as engine,
        RunningGateway(engine.url) as gateway,
        client.get(gateway.url + path, params={"window": window}) as response,
    ):
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["param"] == "window"
    assert "60 to 86400" in error["message"]


@given(st.text(max_size=12) | st.integers(-100, 100_000).map(str))
def test_any_text_is_a_window_within_bounds_or_an_api_error(text: str) -> None:
    if text.lstrip("0") in ALLOWED_WINDOWS:
        assert window_seconds(text, 86400.0) == int(text)
    else:
        with pytest.raises(ApiError, match="60 to 86400"):
            window_seconds(text, 86400.0)


async def test_the_figures_of_what_was_recorded(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        for outcome in ("ok", "queue_full"):
            gateway.parts.sla.record(record(time=time.time(), outcome=outcome))
        async with client.get(gateway.url + "/sla?window=600") as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            found = await response.json()
        assert found["end"] - found["start"] == pytest.approx(600)
        interactive = found["classes"][0]
        assert interactive["name"] == "interactive"
        assert interactive["ttft_target"] == 0.5
        assert interactive["figures"]["attainment"] == 0.5
        assert interactive["figures"]["ttft"] == {"p50": 0.3, "p90": 0.3, "p99": 0.3}
        assert [one["tenant"] for one in found["tenants"]] == ["acme"]
        assert found["jain"] == 1.0


async def test_the_report_is_a_page_and_an_empty_one_too(client: aiohttp.ClientSession) -> None:
    async with ScriptedEngine() as engine, RunningGateway(engine.url) as gateway:
        for headline in ("No request in the last hour", "Every promise was kept in the last hour"):
            async with client.get(gateway.url + "/sla/report") as response:
                assert response.status == 200
                assert response.headers["content-type"] == "text/html; charset=utf-8"
                assert headline in await response.text()
            gateway.parts.sla.record(record(time=time.time()))


async def test_a_database_that_cannot_be_opened_fails_the_report_and_no_request(
    client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "missing" / "sla.db")
    async with ScriptedEngine() as engine, RunningGateway(engine.url, sla={"path": path}) as gateway:
        async with client.get(gateway.url + "/sla") as response:
            assert response.status == 500
            assert "other requests are served as usual" in (await response.json())["error"]["message"]
        gateway.parts.sla.record(record())
        async with client.post(gateway.url + "/v1/completions", json={"prompt": "x", "max_tokens": 1}) as response:
            assert response.status == 200
