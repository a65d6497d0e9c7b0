"""Serve's list of replicas, handed to whoever asked for it in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm_router.fleet.engine import EngineInfo

Subscriber = Callable[[Sequence[EngineInfo]], None]

_subscribers: dict[str, Subscriber] = {}
_last: dict[str, Sequence[EngineInfo]] = {}


def subscribe(application: str, subscriber: Subscriber) -> None:
    """Call `subscriber` with each list of an application's engines, the present one included, from any thread."""
    _subscribers[application] = subscriber
    if application in _last:
        subscriber(_last[application])


def unsubscribe(application: str) -> None:
    _subscribers.pop(application, None)
    _last.pop(application, None)


def publish(application: str, infos: Sequence[EngineInfo]) -> None:
    _last[application] = infos
    if subscriber := _subscribers.get(application):
        subscriber(infos)
