"""The TLS listener: only the API server's proxy certificate opens it, and renewed files are used."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError
from tests.support_promql import Memory

from llm_monitor.external import ExternalMetricsSettings, serve
from llm_monitor.external.api import ROOT
from llm_monitor.web.queries import Queries

METRICS = {"waiting": "vector(3)"}


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def issue(folder: Path, name: str, authority: str) -> None:
    """Write NAME.key and NAME.crt, signed by `authority`, which is made if it is missing."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    if not (folder / f"{authority}.crt").exists():
        files = ("-keyout", f"{authority}.key", "-out", f"{authority}.crt")
        openssl(folder, "req", "-x509", *curve, "-subj", f"/CN={authority}", *files)
    openssl(folder, "req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    signed = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", "san")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issue(tmp_path, "monitor", "serving-ca")
    issue(tmp_path, "front-proxy-client", "proxy-ca")
    issue(tmp_path, "someone", "proxy-ca")
    issue(tmp_path, "stranger", "other-ca")
    return tmp_path


def settings(folder: Path, **more: object) -> ExternalMetricsSettings:
    files = {"certificate": folder / "monitor.crt", "key": folder / "monitor.key", "client_ca": folder / "proxy-ca.crt"}
    given = {"host": "127.0.0.1", "port": 0, **files, "client_names": ["front-proxy-client"], "namespaces": ["llm"]}
    return ExternalMetricsSettings.model_validate({**given, "metrics": METRICS, **more})


class Past(Memory):
    def resolution(self, start: float) -> float:
        return 0.0


def queries() -> Queries:
    past = Past()
    return Queries(past, past)


async def status_as(url: str, folder: Path, name: str | None) -> int:
    """Ask with the certificate of `name`; return the HTTP status."""
    context = ssl.create_default_context(cafile=str(folder / "serving-ca.crt"))
    if name:
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    connector = aiohttp.TCPConnector(ssl=context)
    path = f"{url}{ROOT}/namespaces/llm/waiting"
    async with aiohttp.ClientSession(connector=connector) as session, session.get(path) as response:
        return response.status


async def test_only_the_proxy_certificate_gets_a_value(folder: Path) -> None:
    async with serve(settings(folder), queries()) as url:
        assert await status_as(url, folder, "front-proxy-client") == 200
        assert await status_as(url, folder, "someone") == 403
        for name in ("stranger", None):
            with pytest.raises(aiohttp.ClientError):
                await status_as(url, folder, name)
    async with serve(settings(folder, client_names=[]), queries()) as url:
        assert await status_as(url, folder, "someone") == 200


async def test_a_renewed_certificate_is_used_without_a_restart(folder: Path) -> None:
    async def served(port: int) -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))

    async with serve(settings(folder, client_names=[]), queries(), reload_seconds=0.05) as url:
        port = int(url.rpartition(":")[2])
        before = await served(port)
        fresh = folder / "fresh"
        fresh.mkdir()
        for end in ("crt", "key"):
            shutil.copy(folder / f"serving-ca.{end}", fresh)
        issue(fresh, "monitor", "serving-ca")
        for end in ("key", "crt"):
            os.replace(fresh / f"monitor.{end}", folder / f"monitor.{end}")
        deadline = time.monotonic() + 30
        while await served(port) == before:
            assert time.monotonic() < deadline, "the old certificate is still in use"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metrics": {"waiting": "sum("}}, "waiting|parse|sum"),
        ({"metrics": {"Waiting": "vector(1)"}}, "is no metric name"),
        ({"metrics": {}}, "at least 1"),
        ({"client_ca": "missing.pem"}, "client_ca"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(
    folder: Path, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(folder, **wrong)
