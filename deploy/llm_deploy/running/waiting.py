"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 0.2


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether the condition becomes true in time, as soon as it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True
