"""Pull a request back from an engine: its task is cancelled and can tell this from a client that hung up.

with waiting.interruptible:     # another task may now call waiting.interruptible.interrupt(PREEMPTED)
    …                           # raises Interrupted
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

PREEMPTED = "preempted"
"""A more urgent request wants the slot."""
EJECTED = "ejected"
"""The engine makes no progress."""


class Interrupted(Exception):
    """The request was pulled back from its engine."""

    @property
    def reason(self) -> str:
        return str(self.args[0])


class Interruptible:
    """A `with` block that another task can end through `interrupt`, as asyncio.timeout ends its block.

    If the client hangs up at the same moment, the block ends with CancelledError.
    """

    __slots__ = ("_cancelling", "_reason", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._reason: str | None = None

    def interrupt(self, reason: str) -> bool:
        """Cancel the block. Return False if it has ended already or was interrupted before."""
        if self._task is None or self._reason is not None:
            return False
        self._reason = reason
        self._task.cancel()
        return True

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None, "entered outside of a task"
        self._cancelling = self._task.cancelling()
        self._reason = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        if self._reason is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Interrupted(self._reason) from None
