"""The scripted engine's scheduler never exceeds its limits and loses no slot, whichever request is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_contract.testing.scheduler import SlotScheduler
from llm_contract.testing.script import Script


async def turns(count: int = 3) -> None:
    """Lets every task run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


@given(
    sizes=st.lists(st.integers(1, 32), min_size=1, max_size=20),
    cancelled=st.sets(st.integers(0, 19)),
    max_running=st.integers(0, 3),
    scheduling=st.sampled_from(["fcfs", "priority"]),
)
def test_limits_hold_and_nothing_is_lost(
    sizes: list[int], cancelled: set[int], max_running: int, scheduling: str
) -> None:
    script = Script(max_running=max_running, kv_tokens=32, scheduling=scheduling)  # type: ignore[arg-type]
    asyncio.run(_run(SlotScheduler(script), sizes, cancelled, max_running))


async def _run(scheduler: SlotScheduler, sizes: list[int], cancelled: set[int], max_running: int) -> None:
    async def work(index: int) -> None:
        async with scheduler.slot(sizes[index], priority=index % 3):
            assert scheduler.kv_used <= 32
            assert not max_running or scheduler.running <= max_running
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(index)) for index in range(len(sizes))]
    await turns(1)
    for index in cancelled & set(range(len(sizes))):
        tasks[index].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert (scheduler.running, scheduler.waiting, scheduler.kv_used) == (0, 0, 0)


async def test_the_head_blocks_and_its_end_lets_the_next_in() -> None:
    scheduler = SlotScheduler(Script(kv_tokens=32))
    begun: list[str] = []
    end = asyncio.Event()

    async def work(name: str, size: int) -> None:
        async with scheduler.slot(size, 0):
            begun.append(name)
            await end.wait()

    tasks = [asyncio.create_task(work(name, size)) for name, size in (("a", 16), ("big", 32), ("small", 16))]
    await turns()
    assert (begun, scheduler.waiting, scheduler.kv_usage) == (["a"], 2, 0.5)
    tasks[1].cancel()
    await turns()
    assert begun == ["a", "small"]
    end.set()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("tokens", [-16, 8])
def test_kv_comes_in_whole_blocks(tokens: int) -> None:
    with pytest.raises(ValueError, match="at least one block"):
        Script(kv_tokens=tokens)


async def test_busy_time_counts_once_and_running_time_for_each_request() -> None:
    now = 0.0
    scheduler = SlotScheduler(Script(max_running=2), clock=lambda: now)
    now = 1.0
    async with scheduler.slot(1, priority=0):
        now = 3.0
        async with scheduler.slot(1, priority=0):
            now = 4.0
        assert scheduler.usage() == (3.0, 4.0)
    now = 9.0
    assert scheduler.usage() == (3.0, 4.0)
