"""Two real vLLM servers behind the router: their answers, the death of one under load, and a rollout of a changed flag.

./lab vllm && .venv/bin/python -m pytest tests/vllm/test_router.py
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import urllib.request
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml
from support import CHAT_TEMPLATE, any_port, eventually, post

from llm_lab import engines, paths, service, vllm
from llm_lab.ports import HOST
from llm_lab.service import Running, Service
from llm_measure.traffic import LOST, Traffic
from llm_router.client.commands import main as llm_router

START_TIMEOUT = 400.0
"""Ray, then two vLLM servers side by side on the cores of a small machine."""
CONTROL = "llm_router.control.applications"


def configuration(*flags: str) -> dict[str, Any]:
    one = engines.engine("vllm", 0, "{port}", flags)
    words = [word if word == "{port}" else word.replace("{", "{{").replace("}", "}}") for word in one.argv]
    args = {
        "engines": {"model": "main", "engine_command": shlex.join(words), "replicas": 2, "max_running": 8},
        "edge": {"host": HOST, "port": any_port(), "admin_port": any_port()},
    }
    return {
        "proxy_location": "Disabled",
        "applications": [
            {"name": name, "route_prefix": None, "import_path": f"{CONTROL}:{name}", "args": each}
            for name, each in args.items()
        ],
    }


class Router:
    """A router over two vLLM servers, on three logical GPUs: one is spare, for rollouts."""

    def __init__(self, folder: Path) -> None:
        template = folder / "chat.jinja"
        template.write_text(CHAT_TEMPLATE)
        self.config = configuration("--chat-template", str(template))
        self._file = folder / "router.yaml"
        edge = self.config["applications"][1]["args"]
        self.url, self._admin = f"http://{HOST}:{edge['port']}", f"http://{HOST}:{edge['admin_port']}"
        serve = ("-m", "llm_router", "serve", "--config", str(self._write(self.config)), "--logical-gpus", "3")
        self.running: Running = service.start(
            Service("router", (str(paths.PYTHON), *serve), self.url, env=vllm.ENVIRONMENT)
        )
        service.wait_until_ready([self.running], START_TIMEOUT)
        assert eventually(lambda: len(self.engines()) == 2, START_TIMEOUT)

    def _write(self, config: dict[str, Any]) -> Path:
        self._file.write_text(yaml.safe_dump(config))
        return self._file

    def deploy(self, config: dict[str, Any]) -> int:
        """Apply a configuration; return the command's exit status once the rollout has ended."""
        return llm_router(["deploy", str(self._write(config)), "--admin", self._admin])

    def engines(self) -> list[dict[str, Any]]:
        """Return the engines that take requests."""
        with urllib.request.urlopen(f"{self.url}/-/status", timeout=10) as response:
            models = json.load(response)["models"]
        return [engine for model in models for engine in model["engines"] if engine["up"]]


async def soon(condition: Callable[[], bool], timeout: float = 30.0) -> bool:
    """Return whether `condition` becomes true, while the load goes on in this event loop."""
    return await asyncio.to_thread(eventually, condition, timeout)


async def busy_engine(router: Router) -> int:
    """Return the process of an engine that holds a request."""
    found: list[int] = []

    def look() -> bool:
        found.extend(engine["engine_pid"] for engine in router.engines() if engine["in_flight"])
        return bool(found)

    assert await soon(look)
    return found[0]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    assert vllm.is_installed(), "vLLM is not there; ./lab vllm installs it"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", tmp_path_factory.mktemp("logs"))
        one = Router(tmp_path_factory.mktemp("router"))
        try:
            yield one
        finally:
            service.stop([one.running])


def test_completions_chat_streams_and_logprobs(router: Router) -> None:
    client = openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0)
    asked: Any = {"model": "main", "prompt": "def main():", "max_tokens": 24, "temperature": 0}
    whole = client.completions.create(**asked, logprobs=2)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text != ""
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 24
    assert whole.choices[0].logprobs is not None
    assert len(whole.choices[0].logprobs.token_logprobs or []) == 24
    assert [model.id for model in client.models.list()] == ["main"]


async def test_a_server_killed_under_load_loses_nothing(router: Router) -> None:
    # The clients think between requests: on two cores, an unbroken load would starve the server that is starting.
    load = Traffic(router.url, unary=1, streams=2, tokens=40, timeout=240, same_text=False, think=3.0)
    async with load as traffic:
        victim = await busy_engine(router)
        os.kill(victim, signal.SIGKILL)
        assert await soon(lambda: victim not in [each["engine_pid"] for each in router.engines()])
        assert await soon(lambda: len(router.engines()) == 2, START_TIMEOUT)
    found = traffic.summary()
    assert found["unary"] + found["streams"] > 0
    assert {name: found[name] for name in LOST} == dict.fromkeys(LOST, 0), found["seen"]


def test_a_changed_flag_is_rolled_out(router: Router) -> None:
    """Without load: on two cores, two loaded servers would leave a third no time to start."""
    before = {each["engine_pid"] for each in router.engines()}
    changed = deepcopy(router.config)
    changed["applications"][0]["args"]["engine_command"] += " --max-num-batched-tokens 1024"
    assert router.deploy(changed) == 0
    after = router.engines()
    assert len(after) == 2
    assert before.isdisjoint(each["engine_pid"] for each in after)
    assert post(router.url, {"model": "main", "prompt": "def", "max_tokens": 4})[0] == 200
