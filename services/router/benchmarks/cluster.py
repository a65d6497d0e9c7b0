"""A Ray cluster of three nodes on this machine, of which one can be lost with every process on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psutil
from benchmarks.stack import Json, kill
from ray.cluster_utils import Cluster

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
OBJECT_STORE_BYTES = 200 * 2**20


class Nodes:
    """The head, which holds the GCS and Serve's controller, and the workers, which can be lost."""

    def __init__(self, gpus: Sequence[int]) -> None:
        os.environ.update(ENVIRONMENT)
        head, *workers = map(_resources, gpus)
        # Ray's hooks for the end of a process can be set in the main thread only, and nodes are replaced in another.
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**head, "include_dashboard": False}, shutdown_at_exit=False
        )
        self._resources = workers[0]
        self._workers = [self._cluster.add_node(**resources) for resources in workers]

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    def kill_one(self, engines: Sequence[Json], *, spare: str) -> tuple[float, set[int]]:
        """Kill a worker node that runs engines but not the edge at `spare`. Return the moment and its engines' pids.

        engines   as the router's status lists them; they have sessions of their own and are no children of the node
        """
        edge = _listens_on(urlsplit(spare).port)
        for worker in self._workers:
            family = _family(worker)
            pids = {process.pid for process in family}
            here = {engine["engine_pid"] for engine in engines if engine["pid"] in pids}
            if here and not pids & edge:
                self._workers.remove(worker)
                moment = time.monotonic()
                for pid in [process.pid for process in family] + list(here):
                    with suppress(ProcessLookupError):
                        kill(pid)
                with suppress(Exception):
                    self._cluster.remove_node(worker, allow_graceful=False)
                return moment, here
        raise RuntimeError("no node has an engine without the edge")

    def replace(self) -> None:
        """Add a node in the place of the one that was killed."""
        self._workers.append(self._cluster.add_node(**self._resources))

    def stop(self) -> None:
        self._cluster.shutdown()


@contextmanager
def three_nodes(gpus: Sequence[int]) -> Iterator[Nodes]:
    """Run three nodes, the head first, with the given number of logical GPUs each."""
    nodes = Nodes(gpus)
    try:
        yield nodes
    finally:
        nodes.stop()


def _resources(gpus: int) -> dict[str, Any]:
    return {"num_cpus": 4, "num_gpus": gpus, "object_store_memory": OBJECT_STORE_BYTES}


def _family(node: Any) -> list[psutil.Process]:
    """Return a node's raylet and all processes that descend from it, and the node's other daemons."""
    found = []
    for processes in node.all_processes.values():
        for started in processes:
            with suppress(psutil.Error):
                leader = psutil.Process(started.process.pid)
                found += [leader, *leader.children(recursive=True)]
    return sorted(found, key=lambda process: "raylet" not in process.name())


def _listens_on(port: int | None) -> set[int]:
    """Return the pids of the processes that listen on a port."""
    listening = [one for one in psutil.net_connections("tcp") if one.pid and one.status == psutil.CONN_LISTEN]
    return {one.pid for one in listening if one.pid and one.laddr and one.laddr.port == port}
