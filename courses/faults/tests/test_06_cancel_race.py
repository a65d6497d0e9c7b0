"""A client that hangs up before the engine has seen its request leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading

from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.request.outputs import RequestOutput
from llm_engine.server.async_engine import AsyncEngine

MODEL = str(MODELS / "zoo" / "llama")


class HeldEngine(Engine):
    """An engine whose steps wait for the test."""

    def __init__(self) -> None:
        super().__init__(EngineConfig(MODEL, num_gpu_blocks_override=64, max_model_len=256))
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def step(self) -> list[RequestOutput]:
        self.inside.set()
        assert self.go_on.wait(10)
        return super().step()


async def consume(runner: AsyncEngine, max_tokens: int) -> None:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    async for _ in runner.generate([runner.engine.prepare([5, 6, 7], params)]):
        pass


async def hang_up_during_a_step(engine: HeldEngine) -> list[str]:
    """Return the ids of the requests that the engine computes after that."""
    runner = AsyncEngine(engine)
    await runner.start()
    first = asyncio.create_task(consume(runner, 4))
    assert await asyncio.to_thread(engine.inside.wait, 10)
    second = asyncio.create_task(consume(runner, 200))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    engine.go_on.set()
    await first
    left = [sequence.request_id for sequence in engine.scheduler.running + engine.scheduler.waiting]
    await runner.stop()
    return left


def test_a_request_that_is_cancelled_during_a_step_is_not_computed() -> None:
    assert asyncio.run(hang_up_during_a_step(HeldEngine())) == []
