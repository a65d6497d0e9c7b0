from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from llm_deploy.cli import main
from llm_deploy.kubernetes.cluster import layout, programs
from llm_deploy.kubernetes.cluster.layout import Layout


@pytest.fixture
def binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with programs that are there and do nothing."""
    for name in (*layout.BUILT, *layout.INSTALLED):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("LLM_LAB_KUBERNETES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_api_server_aggregates_and_shows_its_certificate(tmp_path: Path) -> None:
    command = " ".join(programs.api_server(Layout(tmp_path), tmp_path))
    for flag in ("--enable-aggregator-routing=true", "--requestheader-client-ca-file=", "--proxy-client-cert-file="):
        assert flag in command


def test_without_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["cluster", "up"]) == 1
    assert capsys.readouterr().err.startswith("lab: the cluster needs root")


def test_without_the_binaries(
    binaries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (binaries / "kubelet").unlink()
    assert main(["cluster", "up"]) == 1
    assert f"{binaries} lacks kubelet; tools/kubernetes builds them" in capsys.readouterr().err


def test_without_etcd(binaries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (binaries / "etcd").unlink()
    assert main(["cluster", "up"]) == 1
    assert "etcd is missing; install Debian's package etcd-server" in capsys.readouterr().err


def test_with_a_port_in_use(
    binaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("llm_deploy.kubernetes.cli.Layout", lambda: Layout(tmp_path / "state"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(layout, "PORTS", (port,))
        assert main(["cluster", "up"]) == 1
    assert f"port {port} is in use; only one cluster runs on a machine" in capsys.readouterr().err


def test_load_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llm_deploy.kubernetes.cli.Layout", lambda: Layout(tmp_path))
    assert main(["cluster", "load", "llm-lab/engine:dev"]) == 1
    assert "no cluster runs" in capsys.readouterr().err
