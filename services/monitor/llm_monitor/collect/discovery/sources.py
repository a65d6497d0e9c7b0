"""Two sources of target groups: a file, and an HTTP address."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import orjson
import yaml

from llm_monitor.collect.discovery.groups import targets_of
from llm_monitor.collect.targets import Job, Target

MAX_BYTES = 4 * 2**20


class FileSource:
    """A YAML or JSON file of target groups. It is read again when it changed."""

    def __init__(self, path: Path, interval: float = 1.0) -> None:
        self.name = str(path)
        self.interval = interval
        self._path = path
        self._read: tuple[tuple[int, int], list[Target]] | None = None

    async def find(self) -> list[Target]:
        return await asyncio.to_thread(self._find)

    def _find(self) -> list[Target]:
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_size)
        if self._read is None or self._read[0] != version:
            if status.st_size > MAX_BYTES:
                raise ValueError(f"the file is longer than {MAX_BYTES} bytes")
            groups = yaml.safe_load(self._path.read_text(encoding="utf-8"))
            self._read = version, targets_of(groups or [])
        return self._read[1]


class HttpSource:
    """An address that lists target groups as JSON, such as a router's /-/targets. Without a path, that is meant."""

    def __init__(self, url: str, *, job: Job = "engine", interval: float = 2.0, path: str = "/-/targets") -> None:
        self.name = url if url.rstrip("/").count("/") > 2 else url.rstrip("/") + path
        self.interval = interval
        self._job = job

    async def find(self) -> list[Target]:
        async with aiohttp.ClientSession() as session, session.get(self.name, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"it answered with status {response.status}")
            return targets_of(orjson.loads(await read_bounded(response)), self._job)


async def read_bounded(response: aiohttp.ClientResponse, limit: int = MAX_BYTES) -> bytes:
    """Return the body. Raises ValueError if it is longer than `limit` bytes."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > limit:
            response.close()
            raise ValueError(f"its answer is longer than {limit} bytes")
    return bytes(body)
