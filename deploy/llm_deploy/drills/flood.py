"""More clients of the lowest class than the gateway's queue holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp

CLIENTS = 400
"""The gateway holds 256 batch requests by default, and the engines run some dozens."""
BODY = {"model": "main", "prompt": "def f(x):", "max_tokens": 64, "ignore_eos": True}
PAUSE = 2.0
"""Seconds until a refused client asks again."""


@contextmanager
def flood(url: str, key: str, count: int = CLIENTS) -> Iterator[Callable[[], int | str]]:
    """Send batch requests during the block; yield a function that returns the newest refusal's status."""
    refused: list[int] = []
    ended = threading.Event()

    async def client(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.post(f"{url}/v1/completions", json=BODY) as response:
                    await response.read()
                    if response.status != 200:
                        refused[:] = [response.status]
                        await asyncio.sleep(PAUSE)
            except aiohttp.ClientError:
                await asyncio.sleep(PAUSE)

    async def run() -> None:
        headers = {"Authorization": f"Bearer {key}", "x-priority": "batch"}
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            tasks = [asyncio.create_task(client(session)) for _ in range(count)]
            await asyncio.to_thread(ended.wait)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield lambda: refused[0] if refused else "none"
    finally:
        ended.set()
        thread.join()
