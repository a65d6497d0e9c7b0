"""Apply a changed list of engines to a running gateway, without failing a request.

New engines are added first and old ones removed last: an engine leaves when another one is up, or after PATIENCE if
none comes up. An engine that stays with other settings (slots, priority, key) is replaced in one step; its requests
finish under the old settings. Engines that the admin API added stay, unless the configuration names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from llm_gateway.engines import EnginePool
from llm_gateway.engines.settings import EngineSettings

PATIENCE = 30.0
"""Seconds."""
LOOK_SECONDS = 0.05

_retiring: set[asyncio.Task[None]] = set()
"""References that keep the tasks alive until they are done."""


def change_engines(pool: EnginePool, old: Sequence[EngineSettings], new: Sequence[EngineSettings]) -> None:
    """Add, replace and remove engines of the pool, from the `old` configuration to the `new` one."""
    before = {one.name: one for one in old}
    after = {one.name: one for one in new}
    present = {engine.name for engine in pool.engines}
    for name, settings in after.items():
        if name not in present:
            pool.add(settings)
        elif before.get(name) != settings:
            _replace(pool, settings)
    leaving = (before.keys() - after.keys()) & present
    if leaving:
        task = asyncio.get_running_loop().create_task(_retire(pool, leaving))
        _retiring.add(task)
        task.add_done_callback(_retiring.discard)


def moved(old: Sequence[EngineSettings], new: Sequence[EngineSettings]) -> list[str]:
    """Return the names whose URL has changed. Such a name would stand for two engines at once."""
    urls = {one.name: one.url for one in old}
    return [one.name for one in new if urls.get(one.name, one.url) != one.url]


def _replace(pool: EnginePool, settings: EngineSettings) -> None:
    """Exchange an engine in one step: the dispatcher does not see the pool without it."""
    before = next(engine for engine in pool.engines if engine.name == settings.name)
    was_up = before.up
    with pool.paused():
        pool.remove(settings.name)
        engine = pool.add(settings)
        pool.learn_models(engine, before.cards or None)
        if was_up:
            pool.mark_up(engine)


async def _retire(pool: EnginePool, names: set[str]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not any(engine.up for engine in pool.engines if engine.name not in names):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pass
    for name in names & {engine.name for engine in pool.engines}:
        pool.remove(name)
