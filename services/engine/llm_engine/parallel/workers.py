"""The other ranks, as rank 0 sees them. All ranks are processes on this machine; `rank` is what they run.

Rank 0 is the engine's own process: it schedules, lays out the batch, sends it to the other ranks, computes its part and
samples. A rank that dies ends them all, because a collective would wait for it without end, and a GPU that waits can
only be stopped with its process. Clients have a few seconds to get their errors.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from llm_engine.errors import EngineDead, ModelError
from llm_engine.execution.batch import HostBatch
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.parallel.collectives import TIMEOUT, Collectives, Timeline
from llm_engine.parallel.rank import HOST, Failed, Phase, Setup, encode, run
from llm_engine.parallel.sharding import Shard
from llm_engine.settings import EngineConfig

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 20.0
"""Time after which a rank that is still starting is mentioned, again and again."""
EXIT_SECONDS = 4.0
"""Time from a rank's death to the end of this process, in which clients get their errors."""


class Workers:
    """The processes of the other ranks, and the connection to them."""

    def __init__(self, config: EngineConfig, folder: Path, num_blocks: int, device: torch.device) -> None:
        """Start the ranks and connect to them. They load their weights while rank 0 loads its own."""
        self.failure: str | None = None
        """Why the engine cannot go on: a rank has died."""
        self.timelines: list[Timeline] = []
        """The ranks' parts of the last step, if a trace is written."""
        self._log = config.log_collectives
        self._records = config.trace is not None
        self._begin = 0.0
        store = TCPStore(HOST, 0, config.num_ranks, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        setup = Setup(config, folder, num_blocks, store.port)
        self._closed = threading.Event()
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for rank in range(1, config.num_ranks):
            self._start(setup, rank)
        # At exit, before multiprocessing waits for its processes. (Its own children run no atexit functions.)
        self._at_exit = Finalize(None, self._kill, exitpriority=10)
        self._wake, wakes = multiprocessing.Pipe()
        threading.Thread(target=self._watch, args=(wakes,), name="ranks", daemon=True).start()
        self._is_connected = False
        self._expect(Phase.HERE, "started")
        self._is_connected = True
        self.collectives = Collectives(Shard.of_rank(0, config), 0, store, device)
        if self._records:
            self.collectives.calls = []

    def loaded(self) -> None:
        """Note that rank 0 has its weights. Wait for the other ranks', so that all capture their graphs together."""
        self._expect(Phase.LOADED, "loaded its weights")
        for pipe in self._pipes:
            pipe.send(Phase.GO)

    def ready(self) -> None:
        """Note that rank 0 is ready for the first step, and wait for the other ranks."""
        self._expect(Phase.READY, "become ready")

    def send(self, copies: list[BlockCopy], batch: HostBatch | None) -> None:
        """Send the step to all other ranks. The caller computes the same step in its own process."""
        message = encode(copies, batch)
        for rank, pipe in enumerate(self._pipes, 1):
            try:
                pipe.send_bytes(message)
            except OSError as error:
                self._note_end(rank)
                raise EngineDead(self.failure) from error
        self._begin = time.monotonic()

    def share(self, token_ids: Tensor) -> None:
        """Send the batch's tokens to the other ranks: rank 0 alone knows those that took the place of placeholders."""
        self.collectives.broadcast(token_ids)

    def computed(self) -> None:
        """Note that rank 0 has computed its part. With a trace, wait for the other ranks' timelines."""
        if self._records:
            mine = self.collectives.take_timeline(self._begin)
            self.timelines = [mine, *(self._receive(rank) for rank in range(1, len(self._pipes) + 1))]

    def close(self) -> None:
        """End the ranks."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._wake.close()
        for pipe in self._pipes:
            pipe.close()
        if self.failure is None and self._is_connected:
            if self._log:
                log.warning("%s", self.collectives.report())
            self.collectives.close()
            for process in self._processes:
                process.join(10)
        self._at_exit()

    def _start(self, setup: Setup, rank: int) -> None:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=run, args=(setup, rank, theirs), name=f"rank-{rank}", daemon=True)
        process.start()
        theirs.close()
        self._pipes.append(mine)
        self._processes.append(process)

    def _expect(self, phase: Phase, done: str) -> None:
        """Wait until all ranks have reached the phase. ModelError as soon as one has failed."""
        missing = dict(enumerate(self._pipes, 1))
        while missing:
            ready = wait(list(missing.values()), PATIENCE_SECONDS)
            for rank in list(missing):
                if missing[rank] not in ready:
                    if not ready:
                        log.warning("rank %d has not %s yet; waiting for it", rank, done)
                    continue
                try:
                    found = self._receive(rank)
                except EngineDead as error:
                    self.close()
                    raise ModelError(str(error)) from error
                assert found is phase, found
                del missing[rank]

    def _receive(self, rank: int) -> Any:
        """Return the next message of a rank. EngineDead if it has failed."""
        try:
            message = self._pipes[rank - 1].recv()
        except (EOFError, ConnectionError) as error:
            self._note_end(rank)
            raise EngineDead(self.failure) from error
        if isinstance(message, Failed):
            self.failure = f"rank {rank} failed: {message.error}"
            raise EngineDead(self.failure)
        return message

    def _note_end(self, rank: int) -> None:
        """Note how the rank has ended, unless it has said so itself."""
        process = self._processes[rank - 1]
        process.join()
        code = process.exitcode or 0
        how = f"was ended by {Signals(-code).name}" if code < 0 else f"ended with status {code}"
        self.failure = self.failure or f"rank {rank} (process {process.pid}) {how}"

    def _watch(self, wakes: Connection) -> None:
        """Wait for the first rank that ends before `close`. Then end this process, unless `close` comes soon."""
        by_sentinel = {process.sentinel: rank for rank, process in enumerate(self._processes, 1)}
        ended = wait([*by_sentinel, wakes])
        died = [by_sentinel[sentinel] for sentinel in ended if isinstance(sentinel, int)]
        if self._closed.is_set() or not died:
            return
        self._note_end(died[0])
        log.critical("the engine stops, because %s", self.failure)
        if not self._closed.wait(EXIT_SECONDS):
            self._kill()
            logging.shutdown()
            os._exit(1)

    def _kill(self) -> None:
        self._closed.set()
        for process in self._processes:
            process.kill()
