"""Two real vLLM servers for a whole module of tests, and a gateway of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from support import CHAT_TEMPLATE, READY_TIMEOUT, any_port

from llm_lab import engines, paths, service, vllm
from llm_lab.ports import HOST
from llm_lab.service import Running

VLLM_READY_TIMEOUT = 240.0
MAX_NUM_SEQS = 2
"""So few that a handful of requests makes vLLM's own queue, where its priorities show."""
FLAGS = ("--max-num-seqs", str(MAX_NUM_SEQS), "--scheduling-policy", "priority", "--enable-prefix-caching")
COMPACT_JSON = '{"backend": "xgrammar", "disable_any_whitespace": true}'
"""Free to write white space between two tokens of JSON, a small model may write nothing else."""

StartGateway = Callable[..., Running]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """Start both servers and wait until they are ready. A test that kills one comes last."""
    assert vllm.is_installed(), "vLLM is not there; ./lab vllm installs it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", tmp_path_factory.mktemp("logs"))
        template = tmp_path_factory.mktemp("vllm") / "chat.jinja"
        template.write_text(CHAT_TEMPLATE)
        flags = (*FLAGS, "--chat-template", str(template), "--structured-outputs-config", COMPACT_JSON)
        running = [service.start(engines.engine("vllm", index, any_port(), flags)) for index in range(2)]
        families = [process for each in running if (process := each.process())]
        try:
            service.wait_until_ready(running, VLLM_READY_TIMEOUT)
            families += [child for leader in families for child in leader.children(recursive=True)]
            yield running
        finally:
            service.stop(running)
            for orphan in families:  # those of a server that a test killed
                if orphan.is_running():
                    orphan.kill()


@pytest.fixture
async def client_session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        yield session


@pytest.fixture
def start_gateway(start: Callable[..., Running], tmp_path: Path) -> StartGateway:
    """Start a gateway over servers; keyword arguments are its settings, `engine` those of each engine."""

    def start_one(*over: Running, engine: dict[str, object] | None = None, **settings: object) -> Running:
        port = any_port()
        listed = [{"url": each.url, "name": each.name, "takes_priority": True, **(engine or {})} for each in over]
        config = tmp_path / "gateway.yaml"
        config.write_text(yaml.safe_dump({"host": HOST, "port": port, "engines": listed, **settings}))
        running = start("gateway", port, "-m", "llm_gateway", "--config", str(config))
        service.wait_until_ready([running], READY_TIMEOUT)
        return running

    return start_one
