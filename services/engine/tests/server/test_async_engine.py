from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from llm_engine import Engine, SamplingParams
from llm_engine.errors import EngineDead
from llm_engine.request.preparation import Prepared
from llm_engine.server.async_engine import AsyncEngine

MakeEngine = Callable[..., Engine]


@asynccontextmanager
async def started(engine: Engine) -> AsyncIterator[AsyncEngine]:
    runner = AsyncEngine(engine)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition belongs to another thread
            await asyncio.sleep(0.005)


def prepared(runner: AsyncEngine, max_tokens: int, only_final: bool = False) -> Prepared:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    return runner.engine.prepare([5, 6, 7], params, only_final)


async def test_outputs_of_several_submissions_come_with_their_index(make_engine: MakeEngine) -> None:
    async with started(make_engine()) as runner:
        counts: dict[int, int] = {}
        async for index, output in runner.generate([prepared(runner, 3), prepared(runner, 9)]):
            counts[index] = output.num_output_tokens
        assert counts == {0: 3, 1: 9}


async def test_many_at_once_get_what_each_gets_alone(make_engine: MakeEngine) -> None:
    async def text(runner: AsyncEngine) -> str:
        return "".join([output.text async for _, output in runner.generate([prepared(runner, 20)])])

    async with started(make_engine()) as runner:
        alone = await text(runner)
        assert await asyncio.gather(*[text(runner) for _ in range(8)]) == [alone] * 8


async def test_the_trace_has_the_callers_trace_id(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    async with started(make_engine(trace=str(path))) as runner:
        async for _ in runner.generate([prepared(runner, 1)], request_id="mine", trace_id="ab" * 16):
            pass
    requests = [event for line in path.open(encoding="utf-8") if (event := json.loads(line))["event"] == "request"]
    assert [(event["id"], event["trace_id"]) for event in requests] == [("mine#0/0", "ab" * 16)]


async def test_leaving_early_aborts(make_engine: MakeEngine) -> None:
    async with started(make_engine()) as runner:
        async with aclosing(runner.generate([prepared(runner, 2000)])) as results:
            async for _ in results:
                break
        await until(lambda: not runner.engine.has_work)
        assert runner.engine.scheduler.kv_cache.pool.usage == 0


async def test_cancelling_aborts(make_engine: MakeEngine) -> None:
    async def consume(runner: AsyncEngine) -> None:
        async for _ in runner.generate([prepared(runner, 2000, only_final=True)]):
            pass

    async with started(make_engine()) as runner:
        task = asyncio.create_task(consume(runner))
        await until(lambda: runner.engine.has_work)
        task.cancel()
        await until(lambda: not runner.engine.has_work)


async def test_a_step_that_fails_reaches_every_client_and_nobody_waits(make_engine: MakeEngine) -> None:
    engine = make_engine()

    def fail() -> None:
        raise ZeroDivisionError("boom")

    engine.step = fail  # type: ignore[method-assign, assignment]
    async with started(engine) as runner:

        async def consume() -> None:
            async for _ in runner.generate([prepared(runner, 5)]):
                pass

        results = await asyncio.gather(consume(), consume(), return_exceptions=True)
        assert all(isinstance(result, EngineDead) for result in results)
        assert "ZeroDivisionError: boom" in str(results[0])
        await until(lambda: not runner.is_alive)
        with pytest.raises(EngineDead):
            await consume()


async def test_stopping_ends_what_runs(make_engine: MakeEngine) -> None:
    runner = AsyncEngine(make_engine())
    await runner.start()

    async def consume() -> None:
        async for _ in runner.generate([prepared(runner, 2000)]):
            pass

    task = asyncio.create_task(consume())
    await until(lambda: runner.engine.has_work)
    await runner.stop()
    with pytest.raises(EngineDead, match="stopped"):
        await task
    assert not runner.is_alive
