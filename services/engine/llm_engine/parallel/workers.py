"""The processes of the other ranks, all on this machine.

Rank 0 is the engine's own process: it schedules, builds the batch, sends it to the other ranks, computes its part and
samples. The others wait at a pipe for the next step, so no rank waits in a collective while the engine is idle. They
end when the pipe is closed.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import time
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from llm_engine.checkpoint.families import parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.loading import load_decoder
from llm_engine.execution.batch import Batch
from llm_engine.execution.transfer import to_device
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.parallel.collectives import TIMEOUT, Collectives, Timeline
from llm_engine.parallel.sharding import Shard
from llm_engine.settings import EngineConfig
from llm_engine.startup import sizing

log = logging.getLogger(__name__)
HOST = "127.0.0.1"


class Workers:
    """The other ranks, as rank 0 sees them."""

    def __init__(self, config: EngineConfig, folder: Path, num_blocks: int, device: torch.device) -> None:
        """Start the ranks and connect to them. They load their weights while rank 0 loads its own."""
        store = TCPStore(HOST, 0, config.num_ranks, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(1, config.num_ranks):
            mine, theirs = context.Pipe()
            arguments = {"rank": rank, "port": store.port, "pipe": theirs}
            process = context.Process(
                target=run, args=(config, folder, num_blocks), kwargs=arguments, name=f"rank-{rank}", daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(mine)
            self._processes.append(process)
        self.collectives = Collectives(Shard.of_rank(0, config), 0, store, device)
        self._log = config.log_collectives
        self._records = config.trace is not None
        self._begin = 0.0
        self.timelines: list[Timeline] = []
        """The ranks' parts of the last step, if a trace is written."""
        if self._records:
            self.collectives.calls = []

    def send(self, copies: list[BlockCopy], batch: Batch | None) -> None:
        """Send the step to all other ranks. The caller computes the same step in its own process."""
        message = pickle.dumps((copies, None if batch is None else _on_host(batch)))
        for pipe in self._pipes:
            pipe.send_bytes(message)
        self._begin = time.monotonic()

    def computed(self) -> None:
        """Note that rank 0 has computed its part. With a trace, wait for the other ranks' timelines."""
        if self._records:
            mine = self.collectives.take_timeline(self._begin)
            self.timelines = [mine, *(pipe.recv() for pipe in self._pipes)]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
        if self._log:
            log.warning("%s", self.collectives.report())
        self.collectives.close()


def run(config: EngineConfig, folder: Path, num_blocks: int, *, rank: int, port: int, pipe: Connection) -> None:
    """Run a rank's process: compute the steps that come through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the engine, which then closes the pipe
    model = parse_config(read_json(folder / "config.json"))
    sizing.set_num_threads(config, model)
    device = sizing.device(config, rank)
    shard = Shard.of_rank(rank, config)
    store = TCPStore(HOST, port, is_master=False, timeout=TIMEOUT)
    collectives = Collectives(shard, rank, store, device)
    collectives.calls = None if config.trace is None else []
    decoder = load_decoder(config, folder, device, shard, collectives=collectives)
    memory = decoder.new_kv_memory(num_blocks, config.num_cpu_blocks)
    try:
        while True:
            copies, batch = pickle.loads(pipe.recv_bytes())
            memory.copy(copies)
            if batch is not None:
                begin = time.monotonic()
                with torch.inference_mode():
                    decoder.forward(_on_device(batch, device), memory.device)
                if config.trace is not None:
                    pipe.send(collectives.take_timeline(begin))
    except EOFError:
        if config.log_collectives:
            log.warning("%s", collectives.report())
        collectives.close()


def _on_host(batch: Batch) -> dict[str, Any]:
    """Return the batch's fields for the pipe: tensors as arrays, and no sequences, which only rank 0 knows."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    arrays = {name: value.cpu().numpy() for name, value in values.items() if isinstance(value, Tensor)}
    return {**values, **arrays, "wanted": []}


def _on_device(values: dict[str, Any], device: torch.device) -> Batch:
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    tensors = to_device(list(arrays.values()), device)
    return Batch(**{**values, **dict(zip(arrays, tensors, strict=True))})
