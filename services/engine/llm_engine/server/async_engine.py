"""The engine in a thread of its own, behind asyncio.

Commands (add, abort) go in through a queue and are obeyed between steps; all outputs of a step come back in one call
into the event loop. torch lets go of the interpreter lock inside its operators, so the loop runs beside the steps.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue

from llm_engine.engine import Engine
from llm_engine.errors import EngineDead
from llm_engine.outputs import RequestOutput
from llm_engine.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Submission:
    prompt_ids: list[int]
    params: SamplingParams
    priority: int = 0
    pieces: list[str] | None = None
    """The piece of the prompt's text that each token covers, where the answer is to repeat the prompt."""


@dataclass(slots=True)
class _Stream:
    """Where the outputs of one engine request go."""

    queue: asyncio.Queue[tuple[int, RequestOutput] | EngineDead]
    index: int
    unfinished: int
    """Answers still to come to their end."""


class AsyncEngine:
    """All methods are for the event loop's thread; the engine's thread touches `engine` alone."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._streams: dict[str, _Stream] = {}
        self._ids = count()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._dead: EngineDead | None = None

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and self._dead is None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """After the step that is under way; requests still running end with EngineDead."""
        self._commands.put(self._stop_thread)
        await asyncio.to_thread(self._thread.join)
        self._fail(EngineDead("the engine was stopped"))
        self.engine.close()

    async def generate(
        self, submissions: Sequence[Submission], only_final: bool = False
    ) -> AsyncIterator[tuple[int, RequestOutput]]:
        """(index of the submission, output) as they come, until all are finished.

        Leaving early, by `aclose` or cancellation, aborts what still runs. Raises EngineDead; the submissions have been
        checked with `engine.check_request`.
        """
        if self._dead is not None:
            raise self._dead
        queue: asyncio.Queue[tuple[int, RequestOutput] | EngineDead] = asyncio.Queue()
        ids = [self._submit(item, index, queue, only_final) for index, item in enumerate(submissions)]
        unfinished = sum(item.params.n for item in submissions)
        try:
            while unfinished:
                news = await queue.get()
                if isinstance(news, EngineDead):
                    raise news
                unfinished -= news[1].finish_reason is not None
                yield news
        finally:
            for request_id in ids:
                if self._streams.pop(request_id, None) is not None:
                    self._commands.put(partial(self.engine.abort_request, request_id))

    def _submit(
        self,
        item: Submission,
        index: int,
        queue: asyncio.Queue[tuple[int, RequestOutput] | EngineDead],
        only_final: bool,
    ) -> str:
        request_id = str(next(self._ids))
        self._streams[request_id] = _Stream(queue, index, item.params.n)
        add = partial(self.engine.add_request, request_id, item.prompt_ids, item.params, item.priority)
        self._commands.put(partial(add, only_final=only_final, arrival_time=time.monotonic()))
        return request_id

    def _deliver(self, outputs: list[RequestOutput]) -> None:
        for output in outputs:
            stream = self._streams.get(output.request_id)
            if stream is None:
                continue
            stream.queue.put_nowait((stream.index, output))
            stream.unfinished -= output.finish_reason is not None
            if not stream.unfinished:
                del self._streams[output.request_id]

    def _fail(self, error: EngineDead) -> None:
        self._dead = self._dead or error
        for stream in self._streams.values():
            stream.queue.put_nowait(self._dead)
        self._streams.clear()

    # The engine's thread

    def _run(self) -> None:
        assert self._loop is not None
        try:
            while not self._stopping:
                self._obey()
                if self.engine.has_work and (outputs := self.engine.step()):
                    self._loop.call_soon_threadsafe(self._deliver, outputs)
        except Exception as error:  # noqa: BLE001 - whatever a step raises, the clients must hear of it
            dead = EngineDead(f"the engine stopped: {type(error).__name__}: {error}")
            dead.__cause__ = error
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._fail, dead)

    def _obey(self) -> None:
        """Commands that came meanwhile; with nothing to compute, wait for one."""
        if not self.engine.has_work:
            self._commands.get()()
        with suppress(Empty):
            while True:
                self._commands.get_nowait()()

    def _stop_thread(self) -> None:
        self._stopping = True
