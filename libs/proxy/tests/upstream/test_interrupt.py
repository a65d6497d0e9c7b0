from __future__ import annotations

import asyncio

import pytest

from llm_proxy.upstream.interrupt import EJECTED, PREEMPTED, Interrupted, Interruptible


async def _waits(interruptible: Interruptible, inside: asyncio.Event) -> str:
    try:
        with interruptible:
            inside.set()
            await asyncio.Event().wait()
    except Interrupted as interrupted:
        await asyncio.sleep(0)  # the task is not being cancelled any more
        return interrupted.reason
    return "never"


async def _started() -> tuple[asyncio.Task[str], Interruptible]:
    interruptible, inside = Interruptible(), asyncio.Event()
    task = asyncio.create_task(_waits(interruptible, inside))
    await inside.wait()
    return task, interruptible


async def test_the_block_ends_with_the_reason_and_the_task_goes_on() -> None:
    task, interruptible = await _started()
    assert interruptible.interrupt(PREEMPTED)
    assert await task == PREEMPTED
    assert task.cancelling() == 0


async def test_the_first_reason_counts() -> None:
    task, interruptible = await _started()
    assert interruptible.interrupt(EJECTED)
    assert not interruptible.interrupt(PREEMPTED)
    assert await task == EJECTED


@pytest.mark.parametrize("interrupted_first", [True, False])
async def test_a_client_that_hangs_up_in_the_same_moment_wins(interrupted_first: bool) -> None:
    task, interruptible = await _started()
    if interrupted_first:
        interruptible.interrupt(PREEMPTED)
        task.cancel()
    else:
        task.cancel()
        interruptible.interrupt(PREEMPTED)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_outside_of_the_block_nothing_is_interrupted() -> None:
    interruptible = Interruptible()
    assert not interruptible.interrupt(PREEMPTED)
    with interruptible:
        pass
    assert not interruptible.interrupt(PREEMPTED)


async def test_it_serves_again_after_an_interruption() -> None:
    interruptible = Interruptible()
    for reason in (PREEMPTED, EJECTED):
        inside = asyncio.Event()
        task = asyncio.create_task(_waits(interruptible, inside))
        await inside.wait()
        interruptible.interrupt(reason)
        assert await task == reason
