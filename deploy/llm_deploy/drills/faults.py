"""The faults of the drills. Each is a context manager that undoes its fault at the end, also after Ctrl-C.

A fault yields what the drill looks at in addition to alerts, metrics and clients: names and functions that look.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from llm_deploy.drills.flood import flood
from llm_deploy.drills.key import bad_configuration, expired_key
from llm_deploy.drills.second_monitor import full_disk
from llm_deploy.errors import DeployError
from llm_deploy.running.compose import Compose
from llm_deploy.running.container import Container
from llm_deploy.running.deployment import one
from llm_deploy.running.monitor import Monitor

RATE = "200kbit"
"""Less than the monitor's scrapes of one engine need, and enough for the tokens of a few clients."""


@dataclass(frozen=True)
class Injected:
    """Additions of a fault to the drill's view."""

    observe: Mapping[str, Callable[[], int | str]] = field(default_factory=dict)
    monitor: Monitor | None = None
    """A monitor to ask in place of the deployment's."""


@dataclass(frozen=True)
class Fault:
    does: str
    """One line, printed when the drill begins."""
    inject: Callable[[Compose], AbstractContextManager[Injected]]
    needs_root: bool = False


def last_engine(deployment: Compose) -> Container:
    """Return the engine that the drills disturb. Raises DeployError if no other would be left."""
    engines = [each for each in deployment.containers() if each.role == "engine"]
    if len(engines) < 2:
        raise DeployError(f"the drill disturbs one engine of several, and {deployment.name} runs {len(engines)}")
    return engines[-1]


@contextmanager
def kill_engine(deployment: Compose) -> Iterator[Injected]:
    engine = last_engine(deployment).service
    deployment.signal(engine, "KILL")
    try:
        yield Injected()
    finally:
        deployment.start(engine)


@contextmanager
def hang(deployment: Compose, service: str) -> Iterator[Injected]:
    """Stop all of a service's threads; its connections stay open, and nothing answers."""
    deployment.signal(service, "STOP")
    try:
        yield Injected()
    finally:
        deployment.signal(service, "CONT")


@contextmanager
def slow_network(deployment: Compose) -> Iterator[Injected]:
    """Limit what one engine can send, in its own network namespace, by a token bucket.

    A token bucket is in every kernel; netem, which could add delay alone, is not.
    """
    engine = last_engine(deployment)
    enter = ("nsenter", "--target", str(engine.pid), "--net", "tc", "qdisc")
    _tc(*enter, "add", "dev", "eth0", "root", "tbf", "rate", RATE, "burst", "4kb", "latency", "2s")
    try:
        yield Injected()
    finally:
        _tc(*enter, "del", "dev", "eth0", "root")


def _tc(*words: str) -> None:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise DeployError(f"slow-network needs {error.filename}; install util-linux and iproute2") from None
    if done.returncode:
        raise DeployError(f"tc in the engine's network namespace: {done.stderr.strip() or 'failed'}")


@contextmanager
def overload(deployment: Compose) -> Iterator[Injected]:
    with flood(deployment.url("gateway", 8080), deployment.keys.client) as refusal:
        yield Injected({"refusal": refusal})


@contextmanager
def fill_disk(deployment: Compose) -> Iterator[Injected]:
    with full_disk(deployment) as second:
        yield Injected({"dashboard": second.dashboard}, second.monitor)


@contextmanager
def expire_key(deployment: Compose) -> Iterator[Injected]:
    with expired_key(deployment) as observe:
        yield Injected(observe)


@contextmanager
def bad_config(deployment: Compose) -> Iterator[Injected]:
    with bad_configuration(deployment) as observe:
        yield Injected(observe)


def needs_rights(fault: Fault) -> None:
    if fault.needs_root and os.geteuid():
        raise DeployError("this drill enters a container's network namespace and needs root; run it with sudo")


FAULTS: dict[str, Fault] = {
    "kill-engine": Fault("kills one engine with SIGKILL; it stays away until the drill ends", kill_engine),
    "hang-engine": Fault(
        "stops one engine with SIGSTOP: its connections stay open, and nothing answers",
        lambda deployment: hang(deployment, last_engine(deployment).service),
    ),
    "cut-redis": Fault(
        "stops the gateways' Redis with SIGSTOP", lambda deployment: hang(deployment, _redis(deployment))
    ),
    "slow-network": Fault(f"limits what one engine can send to {RATE}/s", slow_network, needs_root=True),
    "overload": Fault("sends more batch requests than the gateway's queue holds", overload),
    "expire-key": Fault("replaces a tenant's key in the gateway's configuration", expire_key),
    "bad-config": Fault("writes an unknown setting into the gateway's configuration", bad_config),
    "fill-disk": Fault("fills the disk of a second monitor, of the same image and configuration", fill_disk),
}


def _redis(deployment: Compose) -> str:
    return one(deployment.containers(), "redis").service
