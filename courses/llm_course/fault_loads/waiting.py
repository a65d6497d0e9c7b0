"""Loads whose answers are right and late."""

from __future__ import annotations

import asyncio
import time
from random import Random

from llm_course.fault_loads.client import PREEMPTIONS, USAGE, Client, Seen, drawn

SHORT_CLIENTS = 16
MOST_SHORTS = 150


async def long_among_short(client: Client) -> Seen:
    """Send a prompt that needs nine tenths of the cache while sixteen clients send short ones."""
    answered, long_sent, stop = 0, asyncio.Event(), asyncio.Event()

    async def shorts(seed: int) -> None:
        nonlocal answered
        random = Random(seed)
        while not stop.is_set():
            await client.text([random.randrange(300, 900) for _ in range(50)], random.randrange(60, 141))
            answered += 1
            if answered >= 20:
                long_sent.set()
            if answered >= MOST_SHORTS:
                stop.set()

    others = [asyncio.create_task(shorts(seed)) for seed in range(SHORT_CLIENTS)]
    await long_sent.wait()
    before, began = answered, time.monotonic()
    long = asyncio.create_task(client.text(drawn(1850, 1), 4))
    usage = await client.metric(USAGE)
    await asyncio.wait([long, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    seen: Seen = {
        "short answers while it waited": answered - before,
        "the long prompt": "answered" if long.done() else "not answered",
        "after": f"{time.monotonic() - began:.1f} s",
        USAGE: round(usage, 2),
    }
    stop.set()
    await asyncio.gather(long, *others)
    return seen


async def one_after_another(client: Client) -> Seen:
    """Send ten long generations, each a twentieth of a second after the last."""

    async def one(index: int) -> float:
        await asyncio.sleep(index * 0.05)
        began = time.monotonic()
        await client.text(drawn(6, index), 600)
        return time.monotonic() - began

    seconds = await asyncio.gather(*map(one, range(10)))
    return {
        "seconds, in the order of arrival": " ".join(f"{each:.1f}" for each in seconds),
        "preemptions": await client.metric(PREEMPTIONS),
    }
