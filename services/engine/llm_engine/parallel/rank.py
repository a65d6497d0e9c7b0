"""The process of a rank other than 0: it computes the steps that come through a pipe, and ends with the engine.

    rank 0     start | load weights          | capture graphs | step, step, …                  | close
    rank n           | HERE, LOADED ── GO ──►| READY          | compute each that comes in     | end of the pipe

Between steps the rank waits at the pipe, so no rank waits in a collective while the engine is idle.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

import torch
from torch._C._distributed_c10d import TCPStore

from llm_engine.checkpoint.families import parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.loading import load_decoder
from llm_engine.execution.batch import HostBatch
from llm_engine.execution.graphs import Forward
from llm_engine.kv_cache.memory import BlockCopy, KVMemory
from llm_engine.operators import backend
from llm_engine.parallel.collectives import TIMEOUT, Collectives
from llm_engine.parallel.sharding import Shard
from llm_engine.settings import EngineConfig
from llm_engine.startup import sizing
from llm_engine.startup.prepare import prepare

log = logging.getLogger(__name__)
HOST = "127.0.0.1"

Work: TypeAlias = tuple[list[BlockCopy], HostBatch | None]
"""A step: the blocks to copy, then the batch to compute if there is one."""


def encode(copies: list[BlockCopy], batch: HostBatch | None) -> bytes:
    """Return the message about a step. It names no sequences, which only rank 0 knows."""
    work: Work = (copies, None if batch is None else replace(batch, wanted=[]))
    return pickle.dumps(work, pickle.HIGHEST_PROTOCOL)


class Phase(Enum):
    """A point in the start of a rank."""

    HERE = auto()
    """It has started and found its device. Next it connects to the other ranks, which wait for it without a way out."""
    LOADED = auto()
    GO = auto()
    """From rank 0: all ranks have loaded their weights."""
    READY = auto()


@dataclass(frozen=True, slots=True)
class Failed:
    """The last message of a rank that ends by an error."""

    error: str


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of all ranks."""

    config: EngineConfig
    folder: Path
    num_blocks: int
    port: int
    """Port of the store in which the ranks find each other."""
    prepare: Callable[..., tuple[Forward, KVMemory]] = prepare
    """`startup.prepare`, or what takes its place in tests."""


def run(setup: Setup, rank: int, pipe: Connection) -> None:
    """Run the rank until its pipe is closed."""
    # Signals to the process group are for the engine, which drains and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    try:
        _serve(setup, rank, pipe)
    except BaseException as error:
        log.critical("rank %d failed", rank, exc_info=error)
        with suppress(OSError):
            pipe.send(Failed(f"{type(error).__name__}: {error}"))
        logging.shutdown()
        os._exit(1)  # an orderly exit could wait for the other ranks


def _serve(setup: Setup, rank: int, pipe: Connection) -> None:
    config, folder = setup.config, setup.folder
    model = parse_config(read_json(folder / "config.json"))
    sizing.set_num_threads(config, model)
    device, shard = sizing.device(config, rank), Shard.of_rank(rank, config)
    store = TCPStore(HOST, setup.port, is_master=False, timeout=TIMEOUT)
    pipe.send(Phase.HERE)
    collectives = Collectives(shard, rank, store, device)
    collectives.calls = None if config.trace is None else []
    decoder = load_decoder(config, folder, device, shard, collectives=collectives)
    pipe.send(Phase.LOADED)
    pipe.recv()  # GO
    operators = backend.choose(config, model, decoder.dtype, device)
    max_model_len = sizing.max_model_len(config, model)
    forward, memory = setup.prepare(
        config, decoder, operators, num_blocks=setup.num_blocks, max_model_len=max_model_len
    )
    pipe.send(Phase.READY)
    with torch.inference_mode():
        while (work := _receive(pipe)) is not None:
            _compute(work, forward, memory, collectives, device=device, pipe=pipe if config.trace else None)
    if config.log_collectives:
        log.warning("%s", collectives.report())
    del forward  # NCCL cannot end while there are CUDA graphs with its calls
    collectives.close()


def _receive(pipe: Connection) -> Work | None:
    """Return the next step, or None once the engine has closed the pipe."""
    try:
        message = pipe.recv_bytes()
    except EOFError:
        return None
    work: Work = pickle.loads(message)
    return work


def _compute(
    work: Work,
    forward: Forward,
    memory: KVMemory,
    collectives: Collectives,
    *,
    device: torch.device,
    pipe: Connection | None,
) -> None:
    """Compute this rank's part of a step. Report its timeline if there is a pipe for it."""
    copies, laid_out = work
    memory.copy(copies)
    if laid_out is None:
        return
    begin = time.monotonic()
    batch = laid_out.to(device)
    if batch.has_placeholders:
        batch.token_ids = collectives.broadcast(batch.token_ids)
    forward(batch)
    if pipe is not None:
        pipe.send(collectives.take_timeline(begin))


def _end_with_parent() -> None:
    """End this process with the engine's, whatever ended that. A collective that waits for it would never return."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
