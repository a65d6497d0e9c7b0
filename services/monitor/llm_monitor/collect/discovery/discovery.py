"""The watch over all sources of targets. A source that fails keeps its last known targets, and says why it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from llm_contract import monitor_metrics as names
from llm_monitor.collect.targets import Target
from llm_monitor.metrics import MonitorMetrics

log = logging.getLogger(__name__)


class Source(Protocol):
    name: str
    """Text that tells it from others, such as its address."""
    interval: float
    """Seconds between two looks."""

    async def find(self) -> list[Target]:
        """Return all targets there are now. An exception says why it cannot tell."""


class Discovery:
    """Calls `changed` with the static targets and those of all sources, each time that they change."""

    def __init__(
        self,
        sources: Sequence[Source],
        changed: Callable[[list[Target]], None],
        *,
        static: Iterable[Target] = (),
        metrics: MonitorMetrics | None = None,
    ) -> None:
        self.errors: dict[str, str] = {}
        """The reason why a source's last look failed, by its name."""
        self._sources = sources
        self._changed = changed
        self._static = list(static)
        self._found: dict[str, list[Target]] = {}
        self._failures = (metrics or MonitorMetrics()).counter(names.DISCOVERY_FAILURES)

    async def run(self) -> None:
        """Watch all sources until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(self._watch(source))

    async def look(self, source: Source) -> None:
        """Ask one source once."""
        try:
            async with asyncio.timeout(max(source.interval, 5.0)):
                found = await source.find()
        except Exception as error:  # noqa: BLE001  whatever a source does, the last known targets stay
            reason = f"{source.name}: {error or type(error).__name__}"
            if self.errors.get(source.name) != reason:
                log.warning("targets are not known: %s", reason)
            self.errors[source.name] = reason
            self._failures.labels(source.name).inc()
            return
        self.errors.pop(source.name, None)
        if found != self._found.get(source.name):
            self._found[source.name] = found
            self._changed([*self._static, *(target for name in self._found for target in self._found[name])])

    async def _watch(self, source: Source) -> None:
        while True:
            await self.look(source)
            await asyncio.sleep(source.interval)
