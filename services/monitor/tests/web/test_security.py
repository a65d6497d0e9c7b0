"""Access with and without keys, foreign names, and the headers of every answer."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import ValidationError

from llm_monitor.web import keys
from llm_monitor.web.app import make_app
from llm_monitor.web.security import hash_key, is_loopback
from llm_monitor.web.settings import WebSettings

KEY = "a-key"


class Echo:
    def add_routes(self, app: web.Application) -> None:
        for path in ("/", "/health", "/api/v1/query", "/api/silences"):
            app.router.add_route("*", path, self._answer)

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")


@asynccontextmanager
async def served(host: str = "127.0.0.1", hashed: tuple[str, ...] = ()) -> AsyncIterator[TestClient[Any, Any]]:
    app = make_app([Echo()], host=host, names=["monitor.example"], keys=[hash_key(key) for key in hashed])
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)]
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("path", ["/", "/missing"])
async def test_every_answer_has_the_headers(path: str) -> None:
    async with served() as client:
        response = await client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("localhost:9600", 200),
        ("127.0.0.1", 200),
        ("monitor.example:80", 200),
        ("MONITOR.example", 200),
        ("evil.example", 421),
        ("evil.example:9600", 421),
        ("127.0.0.1.evil.example", 421),
    ],
)
async def test_a_foreign_name_is_refused(name: str, status: int) -> None:
    async with served() as client:
        assert (await client.get("/", headers={"Host": name})).status == status


async def test_off_loopback_a_key_is_needed() -> None:
    async with served("0.0.0.0", (KEY, "another")) as client:
        assert (await client.get("/health")).status == 200
        refused = await client.get("/")
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert "Content-Security-Policy" in refused.headers
        basic = base64.b64encode(f"me:{KEY}".encode()).decode()
        for value, status in (
            (f"Bearer {KEY}", 200),
            ("Bearer another", 200),
            (f"Basic {basic}", 200),
            ("Bearer wrong", 401),
            (f"Bearer {hash_key(KEY)}", 401),
            ("Basic !!!", 401),
            (f"Digest {KEY}", 401),
        ):
            assert (await client.get("/", headers={"Authorization": value})).status == status, value


async def test_another_site_cannot_write() -> None:
    async with served() as client:
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.post("/api/silences", headers=foreign)).status == 403
        assert (await client.post("/api/silences", headers={"Sec-Fetch-Site": "same-origin"})).status == 200
        assert (await client.post("/api/silences")).status == 200  # a script, not a browser
        assert (await client.post("/api/v1/query", headers=foreign)).status == 200  # it only reads


def test_a_new_key_and_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    keys.main()
    key, line = (row.split()[-1] for row in capsys.readouterr().out.splitlines())
    assert hash_key(key) == line.strip('"')
    assert WebSettings(keys=[hash_key(key)]).keys
    with pytest.raises(ValidationError, match="sha256: and 64 hex digits"):
        WebSettings(keys=[key])
