"""Engines behind https: with trusted certificates, and the messages for others."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError

from llm_gateway.engines.settings import EngineSettings
from llm_gateway.testing import RunningGateway

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=engine"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return paths


@pytest.fixture
async def port(certificate: tuple[Path, Path]) -> AsyncIterator[int]:
    """Yield the port of an https engine that answers 200 to every request."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}], "choices": []})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_an_engine_with_a_private_authority_is_trusted_by_its_file(
    client: aiohttp.ClientSession, certificate: tuple[Path, Path], port: int
) -> None:
    engine = {"url": f"https://127.0.0.1:{port}", "ca_file": str(certificate[0])}
    async with (
        RunningGateway(engine) as gateway,
        client.post(f"{gateway.url}/v1/completions", json={"prompt": "x"}) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize(
    ("host", "own", "reason"), [("127.0.0.1", False, "self-signed"), ("localhost", True, "mismatch")]
)
async def test_an_engine_that_is_not_trusted_is_down_with_the_reason(
    certificate: tuple[Path, Path], port: int, host: str, own: bool, reason: str
) -> None:
    engine = {"url": f"https://{host}:{port}", **({"ca_file": str(certificate[0])} if own else {})}
    async with RunningGateway(engine) as gateway:
        said = gateway.parts.pool.engines[0].reason
        assert "certificate is not accepted" in said
        assert reason in said
        assert host not in said


async def test_https_to_a_port_that_speaks_none() -> None:
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with RunningGateway(f"https://127.0.0.1:{runner.addresses[0][1]}") as gateway:
        assert "TLS failed" in gateway.parts.pool.engines[0].reason
    await runner.cleanup()


@pytest.mark.parametrize(
    ("text", "url", "says"),
    [
        (None, "https://engine", "No such file"),
        ("", "https://engine", "no PEM certificates"),
        ("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n", "https://engine", "no PEM certificates"),
    ],
)
def test_a_file_without_certificates_is_refused(tmp_path: Path, text: str | None, url: str, says: str) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValidationError, match=says):
        EngineSettings(url=url, ca_file=str(path))


def test_a_ca_file_is_for_https(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(ValidationError, match="https"):
        EngineSettings(url="http://engine", ca_file=str(certificate[0]))
