"""A replica of an `engines` application: its GPUs and one child engine server.

Serve places it, checks its health and replaces it. Requests do not pass through it: edges send them to the child's
URL, which the replica publishes as its metadata. Its calls carry control only.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

import aiohttp
import ray
from ray import serve

from llm_router.control import memory
from llm_router.control.engine.child import PROBE_SECONDS, Child, EngineFailed, command_of, free_port
from llm_router.control.engine.progress import EngineLoad, Progress, read_load
from llm_router.control.scaling.policy import FRESH_SECONDS, QUEUE_KEY
from llm_router.fleet.engine import EngineInfo
from llm_router.settings import EnginesSettings

SCRAPE_SECONDS = 0.25
QUIET_SCRAPES = 3
"""Idle scrapes in a row after which a drained engine is stopped: an edge can send for a moment after the delisting."""
ENGINE_DIED = 17
"""Exit status of a replica whose engine ended."""


class EngineReplica:
    """One engine on its GPUs. The constructor returns when the engine has computed a token."""

    async def __init__(self, args: dict[str, Any]) -> None:  # type: ignore[misc]  # Serve awaits it
        self.settings = settings = EnginesSettings(**args)
        self._gpus = tuple(str(gpu) for gpu in ray.get_gpu_ids())
        host = ray.util.get_node_ip_address() if "{host}" in settings.engine_command else "127.0.0.1"
        port = free_port()
        values = {
            "port": port,
            "host": host,
            "python": sys.executable,
            "gpus": ",".join(self._gpus),
            "tensor_parallel": settings.tensor_parallel,
            "model": settings.model,
        }
        command = command_of(settings.engine_command, values)
        self._child = Child(command, f"http://{host}:{port}")
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS))
        self._queues: dict[str, tuple[float, float]] = {}
        """Edge -> (requests that wait there, time of the report)."""
        try:
            await self._child.ready(self._is_ready, within=settings.start_timeout)
            await self._warm_up()
        except BaseException:
            self._child.kill()
            await self._http.close()
            raise
        self._draining = False
        self._child.call_at_end(lambda: os._exit(ENGINE_DIED))
        self.progress = Progress(settings.progress_timeout, time.monotonic())
        self._watching = asyncio.create_task(self._watch())
        memory.give_back()

    async def _is_ready(self, url: str) -> bool:
        """Return whether /health and, where there is one, /ready answer 200."""
        try:
            for path, missing in (("/health", False), ("/ready", True)):
                async with self._http.get(url + path) as response:
                    if response.status != 200 and not (missing and response.status == 404):
                        return False
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True

    async def _warm_up(self) -> None:
        """Let the engine compute one token. Raise EngineFailed if it does not, or serves the model by another name."""
        model = self.settings.model
        async with self._http.get(f"{self._child.url}/v1/models") as response:
            served = [each["id"] for each in (await response.json())["data"]]
        if model not in served:
            names = ", ".join(served)
            raise EngineFailed(
                f"the engine serves {names}, not {model}; add `--served-model-name {{model}}` to its command"
            )
        body = {"model": model, "prompt": "1", "max_tokens": 1}
        timeout = aiohttp.ClientTimeout(total=self.settings.start_timeout)
        async with self._http.post(f"{self._child.url}/v1/completions", json=body, timeout=timeout) as response:
            if response.status not in (200, 404):  # 404: a model without completions, such as one for embeddings
                text = (await response.text())[:500]
                raise self._child.failure(f"the engine answered its first request with {response.status} {text}")

    async def _watch(self) -> None:
        while True:
            self.progress.observe(await self._scrape(), time.monotonic())
            await asyncio.sleep(SCRAPE_SECONDS)

    async def _scrape(self) -> EngineLoad | None:
        try:
            async with self._http.get(f"{self._child.url}/metrics") as response:
                return read_load((await response.read()).splitlines())
        except (aiohttp.ClientError, TimeoutError):
            return None

    def record_replica_metadata(self) -> dict[str, Any]:
        """Return what the edges must know; Serve sends it with the list of replicas."""
        context = serve.get_replica_context()
        info = EngineInfo(
            id=context.replica_id.unique_id,
            model=self.settings.model,
            url=self._child.url,
            version=self.settings.version,
            gpus=self._gpus,
            node=ray.get_runtime_context().get_node_id(),
            pid=os.getpid(),
            engine_pid=self._child.pid,
        )
        return info.to_dict()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        load = self.progress.load
        now = time.monotonic()
        queues = {QUEUE_KEY + edge: n for edge, (n, when) in self._queues.items() if now - when <= FRESH_SECONDS}
        return {"running": load.running, "waiting": load.waiting, "kv_usage": load.kv_usage, **queues}

    async def report_queue(self, edge: str, waiting: float) -> None:
        """Take over the number of requests that wait at an edge."""
        self._queues[edge] = (float(waiting), time.monotonic())

    async def ping(self) -> None:
        """Answer a ticket: an edge holds this call open while there is no engine."""

    async def check_health(self) -> None:
        if reason := self._stalled:
            raise RuntimeError(reason)

    @property
    def _stalled(self) -> str:
        """Why the engine has failed; empty if it has not."""
        return self.progress.stalled(time.monotonic())

    async def __del__(self) -> None:
        """Drain: Serve has taken the replica off the list. End the engine once it is idle, or has stalled."""
        if getattr(self, "_draining", True):
            return
        self._draining = True
        self._child.call_at_end(None)
        quiet = 0
        while quiet < QUIET_SCRAPES and not self._child.ended.is_set() and not self._stalled:
            load = await self._scrape()
            quiet = quiet + 1 if load is not None and load.idle else 0
            await asyncio.sleep(SCRAPE_SECONDS)
        self._watching.cancel()
        if self._stalled:
            self._child.kill()  # it may not react to SIGTERM either
        await self._child.stop()
        await self._http.close()
