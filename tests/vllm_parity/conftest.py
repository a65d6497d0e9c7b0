"""Both servers on the shipped main model in float32: real vLLM on the CPU, and ours."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import any_port
from vllm_parity.servers import Both

from llm_engine.checkpoint import chat_template
from llm_lab import paths, service, vllm
from llm_lab.ports import HOST
from llm_lab.service import Service

COMMON = ("--served-model-name", "main", "--host", HOST, "--max-model-len", "1024", "--max-num-seqs", "32")
FLOAT32 = ("--dtype", "float32")
READY_TIMEOUT = 300.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-case", action="store_true", help="every quantised family by every method")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder: Path = tmp_path_factory.mktemp("parity")
    # The shipped model has no chat template, without which vLLM refuses to chat; ours has a plain one.
    model = shutil.copytree(paths.MODEL, folder / "model")
    (model / "chat_template.jinja").write_text(chat_template.PLAIN, encoding="utf-8")
    assert vllm.is_installed(), "real vLLM is not installed; ./lab vllm installs it"
    ports = [any_port(), any_port()]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    commands: list[tuple[str, tuple[str, ...], str, dict[str, str]]] = [
        ("vllm", (str(vllm.COMMAND), "serve", str(model), "--enforce-eager"), "/health", vllm.ENVIRONMENT),
        ("ours", (sys.executable, "-m", "llm_engine", "serve", str(model)), "/ready", environment),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", folder)
        running = [
            service.start(
                Service(name, (*argv, *COMMON, *FLOAT32, "--port", str(port)), f"http://{HOST}:{port}", ready, env)
            )
            for (name, argv, ready, env), port in zip(commands, ports, strict=True)
        ]
        try:
            service.wait_until_ready(running, READY_TIMEOUT)
            yield Both(running[0].url, running[1].url)
        finally:
            service.stop(running)
