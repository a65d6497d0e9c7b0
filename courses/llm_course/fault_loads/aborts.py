"""Loads of clients that hang up."""

from __future__ import annotations

import asyncio

from llm_course.fault_loads.answers import differing
from llm_course.fault_loads.client import PREEMPTIONS, RUNNING, USAGE, WAITING, Client, Prompt, Seen, drawn

SENT_SECONDS = 0.2
"""Time in which a request reaches the server."""
NUM_HANG_UPS = 12
"""If each leaves its 7 blocks or more behind, the next prompt, of 48 blocks, finds no room in 130."""


async def hang_ups(client: Client) -> Seen:
    """Hang up on twelve streams, one after the other, and then ask for an answer."""
    seen: Seen = {}
    for count in range(1, NUM_HANG_UPS + 1):
        await client.hang_up(drawn(100, count), 400)
        await client.until(lambda metrics: not metrics.get(RUNNING))
        if count in (1, 8):
            seen[f"{USAGE} after {count} hang-ups, idle"] = round(await client.metric(USAGE), 3)
    last = asyncio.create_task(client.text(drawn(760, 99), 4))
    await asyncio.wait([last], timeout=3)
    seen["one more request"] = "answered" if last.done() else "not answered"
    seen |= {name: await client.metric(name) for name in (RUNNING, WAITING)}
    last.cancel()
    return seen


async def hang_ups_at_once(client: Client) -> Seen:
    """Close fifty connections while the engine is in one long step, so that it has not seen their requests yet."""
    long = [asyncio.create_task(client.text(drawn(1900, seed), 2)) for seed in range(100, 108)]
    await client.until(lambda metrics: metrics.get(RUNNING, 0) > 0)

    async def one(seed: int) -> None:
        task = asyncio.create_task(client.hang_up(drawn(20, seed), 1500))
        await asyncio.sleep(SENT_SECONDS)
        task.cancel()

    await asyncio.gather(*map(one, range(50)))
    await asyncio.gather(*long)
    await client.until(lambda metrics: not metrics.get(RUNNING), 1.0)
    return {f"{name}, no client connected": await client.metric(name) for name in (RUNNING, WAITING)}


async def abort_of_a_preempted(client: Client) -> Seen:
    """Fill the cache until a request is preempted, hang up on it, and send another."""
    prompts: list[Prompt] = [drawn(6, seed) for seed in range(5)]
    idle = await client.each(prompts, [500] * 5)
    go = asyncio.Event()
    running = asyncio.create_task(client.all(prompts, [500] * 5))
    await client.until(lambda metrics: metrics.get(RUNNING) == len(prompts))
    last = asyncio.create_task(client.hang_up(drawn(6, 9), 500, go))
    before = await client.metric(PREEMPTIONS)
    await client.until(lambda metrics: metrics.get(PREEMPTIONS, before) > before)
    # When the cache is full again, others have its blocks.
    await client.until(lambda metrics: metrics.get(USAGE, 1) > 0.97 and metrics.get(WAITING, 1) > 0)
    go.set()
    await last
    await client.text(drawn(200, 10), 40)
    return {"answers of others that differ": differing(idle, await running)}
