"""Interrupts while something would be lost by them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.event import Event


@contextmanager
def held_interrupts() -> Iterator[Event]:
    """Yield an event that SIGINT and SIGTERM set, instead of ending the process."""
    stop = Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
