"""The engine in its own thread, with an asyncio interface.

Commands (add, abort) go in through a queue and run between steps. All outputs of a step come back in one call into the
event loop. torch releases the interpreter lock inside its operators, so the event loop runs during the steps.

A request that cannot be queued, or fails in a step, ends alone with RequestFailed. An error of the step itself ends the
engine: every request ends with EngineDead, and the server exits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import TypeAlias

from llm_contract import logs
from llm_engine.engine import Engine
from llm_engine.errors import EngineDead, EngineError, RequestError, RequestFailed
from llm_engine.request.outputs import RequestOutput
from llm_engine.request.preparation import Prepared
from llm_engine.server.reading.submission import Submission

log = logging.getLogger(__name__)

Item: TypeAlias = tuple[int, RequestOutput] | EngineError
"""An output with the index of its prepared request, or the error that ends the requests."""


@dataclass(slots=True)
class _Stream:
    """The queue for the outputs of one engine request."""

    queue: asyncio.Queue[Item]
    index: int
    unfinished: int
    """Answers that have not ended."""


class AsyncEngine:
    """The asyncio interface. Its public methods belong to the event loop's thread, `engine` to the engine's thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._streams: dict[str, _Stream] = {}
        self._ids = count()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._dead: EngineDead | None = None
        self._slow_work = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._step_began: float | None = None
        self.died_at: float | None = None
        """Time on the monotonic clock at which an error ended the engine's thread."""

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and self._dead is None

    @property
    def step_seconds(self) -> float:
        """Seconds that the running step has taken so far; 0 between two steps."""
        began = self._step_began  # the engine's thread can reset it at any moment
        return 0.0 if began is None else time.monotonic() - began

    def check(self) -> None:
        """End the engine if a rank has died. The engine's own thread can be stuck in a collective with it."""
        if self._dead is None and (failure := self.engine.failure) is not None:
            self._die(EngineDead(f"the engine stopped: {failure}"))

    async def start(self) -> None:
        """Warm the engine up and start its thread."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._slow_work, self.engine.warm_up)
        self._thread.start()

    async def stop(self) -> None:
        """Stop after the current step. Requests that are still running end with EngineDead."""
        self._commands.put(self._stop_thread)
        await asyncio.to_thread(self._thread.join)
        self._fail_all(EngineDead("the engine was stopped"))
        self._slow_work.shutdown(wait=False, cancel_futures=True)
        self.engine.close()

    async def prepare(self, submissions: Sequence[Submission], only_final: bool = False) -> list[Prepared]:
        """Prepare the submissions for `generate`. RequestError if one of them can never be served."""
        prepare = partial(self._prepare, submissions, only_final)
        if any(item.is_slow_to_prepare for item in submissions):
            return await asyncio.get_running_loop().run_in_executor(self._slow_work, prepare)
        return prepare()

    def _prepare(self, submissions: Sequence[Submission], only_final: bool) -> list[Prepared]:
        return [self.engine.prepare(item.prompt_ids, item.params, only_final) for item in submissions]

    async def generate(
        self,
        prepared: Sequence[Prepared],
        priority: int = 0,
        request_id: str = "",
        *,
        trace_id: str | None = None,
    ) -> AsyncGenerator[tuple[int, RequestOutput], None]:
        """Yield (index of the prepared request, output) as outputs arrive, until all requests are finished.

        `aclose` or cancellation aborts the requests that still run. Raises EngineDead if the engine dies, and
        RequestFailed or RequestError if a request fails. `request_id` and `trace_id` appear in the
        engine's log and trace.
        """
        if self._dead is not None:
            raise self._dead
        queue: asyncio.Queue[Item] = asyncio.Queue()
        submit = partial(self._submit, request_id=request_id, trace_id=trace_id)
        ids = [submit(each, index, queue, priority) for index, each in enumerate(prepared)]
        unfinished = sum(len(each.choices) for each in prepared)
        try:
            while unfinished:
                item = await queue.get()
                if isinstance(item, EngineError):
                    raise item
                unfinished -= item[1].finish_reason is not None
                yield item
        finally:
            for request_id in ids:
                if self._streams.pop(request_id, None) is not None:
                    self._commands.put(partial(self.engine.abort_request, request_id))

    def _submit(
        self,
        item: Prepared,
        index: int,
        queue: asyncio.Queue[Item],
        priority: int,
        *,
        request_id: str,
        trace_id: str | None,
    ) -> str:
        engine_id = f"{request_id}#{next(self._ids)}"
        self._streams[engine_id] = _Stream(queue, index, len(item.choices))
        enqueue = partial(self.engine.enqueue, engine_id, item, priority, time.monotonic(), trace_id=trace_id)
        ids = logs.ids(request_id, trace_id)
        self._commands.put(partial(self._enqueue, engine_id, enqueue, ids))
        return engine_id

    def _deliver(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            stream = self._streams.get(output.request_id)
            if stream is None:
                continue
            if output.error is not None:
                self._fail(output.request_id, output.error)
                continue
            stream.queue.put_nowait((stream.index, output))
            stream.unfinished -= output.finish_reason is not None
            if not stream.unfinished:
                del self._streams[output.request_id]

    def _fail(self, request_id: str, error: Exception) -> None:
        stream = self._streams.pop(request_id, None)
        if stream is not None:
            stream.queue.put_nowait(_for_client(error))

    def _die(self, error: EngineDead) -> None:
        self.died_at = time.monotonic()
        self._fail_all(error)

    def _fail_all(self, error: EngineDead) -> None:
        self._dead = self._dead or error
        for stream in self._streams.values():
            stream.queue.put_nowait(self._dead)
        self._streams.clear()

    # The engine's thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._run_commands()
                if self.engine.has_work and (outputs := self._step()):
                    self._call_in_loop(partial(self._deliver, outputs))
        except BaseException as error:
            log.critical("the engine stopped", exc_info=error)
            dead = EngineDead(f"the engine stopped: {type(error).__name__}: {error}")
            dead.__cause__ = error
            self._call_in_loop(partial(self._die, dead))

    def _step(self) -> list[RequestOutput]:
        self._step_began = time.monotonic()
        outputs = self.engine.step()
        self._step_began = None
        return outputs

    def _run_commands(self) -> None:
        """Run the commands that have arrived. Wait for one if there is nothing to compute."""
        if not self.engine.has_work:
            self._commands.get()()
        with suppress(Empty):
            while True:
                self._commands.get_nowait()()

    def _enqueue(self, request_id: str, enqueue: Callable[[], None], ids: dict[str, str | None]) -> None:
        try:
            enqueue()
        except Exception as error:
            log.exception("request %s failed", request_id, extra=ids)
            self._call_in_loop(partial(self._fail, request_id, error))

    def _call_in_loop(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed, so there are no clients
            self._loop.call_soon_threadsafe(callback)

    def _stop_thread(self) -> None:
        self._stopping = True


def _for_client(error: Exception) -> EngineError:
    """Return the error for the client: an EngineError with its message, any other one with its type only."""
    if isinstance(error, RequestError):
        return error
    failure = RequestFailed(str(error) if isinstance(error, EngineError) else type(error).__name__)
    failure.__cause__ = error
    return failure
