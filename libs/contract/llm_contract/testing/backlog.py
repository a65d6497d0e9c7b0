"""A full queue of connections: what a client sees of a server that is too busy to accept any."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def full_backlog() -> Iterator[asyncio.Event]:
    """Hold every new connection of the running event loop until the yielded event is set.

    Connections over a socket that the caller brings, such as those of aiohttp's client, are not held.
    """
    loop = asyncio.get_running_loop()
    connect, accepting = loop.create_connection, asyncio.Event()

    async def late(*words: Any, **options: Any) -> Any:
        if options.get("sock") is None:
            await accepting.wait()
        return await connect(*words, **options)

    with patch.object(loop, "create_connection", late):
        yield accepting
