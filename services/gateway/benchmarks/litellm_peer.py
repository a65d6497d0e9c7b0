"""LiteLLM's proxy as the peer: its own environment from a lock with hashes, and one worker in front of the engine."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from benchmarks.processes import ROOT, Server, command

LOCK = ROOT / "3rdparty" / "litellm.txt"
VENV = ROOT / ".venv-litellm"
STAMP = VENV / "llm-lab-stamp"
UV = ROOT / ".lab" / "uv" / "bin" / "uv"
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no check of keys, on loopback
}


def install() -> None:
    """Create .venv-litellm from the lock, with all hashes checked, unless it exists. It takes about 500 MB."""
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    python = str(VENV / "bin" / "python")
    if not VENV.exists():
        _uv("venv", "--quiet", "--no-project", "--python", sys.executable, str(VENV))
    _uv("pip", "sync", "--quiet", "--python", python, "--require-hashes", str(LOCK))
    STAMP.write_text(wanted)


@contextmanager
def litellm(engine_url: str) -> Iterator[Server]:
    """Run the proxy with one worker and without database, keys and callbacks: its minimal work per request."""
    install()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "litellm.yaml"
        parameters = {"model": "openai/main", "api_base": f"{engine_url}/v1", "api_key": "none"}
        config.write_text(yaml.safe_dump({"model_list": [{"model_name": "main", "litellm_params": parameters}]}))
        argv = (str(VENV / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
        with command(
            (*argv, "--num_workers", "1"), f"http://127.0.0.1:{port}", "/health/liveliness", ENVIRONMENT
        ) as it:
            yield it


def version() -> str:
    (line,) = (line for line in LOCK.read_text().splitlines() if line.startswith("litellm=="))
    return line.removeprefix("litellm==").rstrip(" \\")


def _uv(*arguments: str) -> None:
    if not UV.exists():
        raise SystemExit("uv is not there yet: run ./lab --help once, it installs it")
    subprocess.run([str(UV), *arguments], cwd=ROOT, check=True)
