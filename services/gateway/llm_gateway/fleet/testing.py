"""A Redis server for a test, and a small replica of the gateway: a real queue, real engine slots, no HTTP.

async with RedisServer() as redis, Replica(redis.url, engines) as one, Replica(redis.url, engines) as other: …
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from llm_gateway.classes import DEFAULT_CLASSES, PriorityClass
from llm_gateway.engines import EnginePool, Permit
from llm_gateway.engines.settings import EngineSettings
from llm_gateway.fleet.bids import Bid
from llm_gateway.fleet.client import FleetClient
from llm_gateway.fleet.settings import FleetSettings
from llm_gateway.scheduling.policies import Aging
from llm_gateway.scheduling.queue import RequestQueue
from llm_gateway.waiting import Waiting

POLL_SECONDS = 0.002
AGING_RATE = 0.05


class RedisServer:
    """Debian's redis-server on a free loopback port, without persistence; its process ends with the block."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        quiet = asyncio.subprocess.DEVNULL
        try:
            self.process = await asyncio.create_subprocess_exec("redis-server", *options, stdout=quiet, stderr=quiet)
        except FileNotFoundError:
            raise RuntimeError("redis-server is not installed; tools/debian-packages installs it") from None
        async with asyncio.timeout(10), Redis.from_url(self.url) as client:
            while not await self._answers(client):  # noqa: ASYNC110 - a process has no event for it
                await asyncio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        """Send SIGKILL: the data is lost and connections break."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            await process.wait()

    @staticmethod
    async def _answers(client: Redis) -> bool:
        try:
            await client.ping()
        except (RedisError, OSError):
            return False
        return True


@dataclass(eq=False)
class Arrival(Waiting):
    granted: asyncio.Future[Permit] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Replica:
    """A minimal LocalDispatcher. `engines` maps names to limits, and all engines are up."""

    def __init__(
        self, redis_url: str, engines: Mapping[str, int], clock: Callable[[], float] = time.monotonic, **fleet: Any
    ) -> None:
        settings = [EngineSettings(url=f"http://{name}", name=name, max_in_flight=n) for name, n in engines.items()]
        self.pool = EnginePool(settings)
        self.pool.on_change.subscribe(self._changed)
        self.queue = RequestQueue(Aging(AGING_RATE, most_urgent=0, fairness_window=math.inf), DEFAULT_CLASSES, 100_000)
        self.clock = clock
        self.bids: dict[Waiting, Bid] = {}
        self.started: list[Waiting] = []
        """Every request that got a permit, in order."""
        self.client = FleetClient(
            FleetSettings(redis_url=SecretStr(redis_url), **fleet), self, time_weight=AGING_RATE, clock=clock
        )
        for engine in self.pool.engines:
            engine.up = True

    async def __aenter__(self) -> Self:
        await self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.stop()

    def arrive(self, cls: PriorityClass, prefer: str = "", avoid: Sequence[str] = ()) -> Arrival:
        request = Arrival(cls, self.clock())
        self.queue.push(request)
        self.bids[request] = self.client.offer(request.key, prefer, avoid)
        self._changed()
        return request

    def cancel(self, request: Waiting) -> None:
        if self.queue.discard(request):
            self.client.withdraw(self.bids.pop(request))

    # --- LocalDispatcher ---------------------------------------------------------------------------------------------

    def limits(self) -> Mapping[str, int]:
        return {engine.name: engine.max_in_flight for engine in self.pool.engines if engine.available}

    def in_flight(self) -> Mapping[str, int]:
        return {engine.name: engine.in_flight for engine in self.pool.engines}

    def grant(self, engine: str) -> bool:
        request = self.queue.pop(self.clock()) if engine in self.limits() else None
        if request is None:
            return False
        self.client.withdraw(self.bids.pop(request))
        request.tried = [other.name for other in self.pool.engines if other.name != engine]
        permit = self.pool.take(request)
        assert permit is not None
        assert permit.engine.name == engine
        self.started.append(request)
        assert isinstance(request, Arrival)
        request.granted.set_result(permit)
        return True

    def mode_changed(self) -> None:
        self._changed()

    def _changed(self) -> None:
        self.client.changed()
        while not self.client.online and self.queue and (engine := self._free_in_own_share()):
            self.grant(engine)

    def _free_in_own_share(self) -> str | None:
        held = self.in_flight()
        return next((name for name, limit in self.limits().items() if held[name] < self.client.share(limit)), None)


async def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    """Poll until `condition()` holds: other processes have no event here."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
