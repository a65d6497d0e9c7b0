"""Everything that fills the head, as the settings say: the collector, the discovery, the GPUs, the monitor itself."""

from __future__ import annotations

import asyncio
import platform

from llm_monitor.collect.collector import Collector
from llm_monitor.collect.discovery import Discovery
from llm_monitor.collect.fetch import Answer, Fetch
from llm_monitor.collect.gpu import Gpus
from llm_monitor.collect.settings import CollectSettings
from llm_monitor.collect.targets import Target
from llm_monitor.metrics import MonitorMetrics


class Collection:
    def __init__(self, settings: CollectSettings, metrics: MonitorMetrics | None = None) -> None:
        self.metrics = metrics or MonitorMetrics()
        self.head = settings.head()
        self.gpus = Gpus.find() if settings.gpus else None
        static = settings.static_targets()
        self.collector = Collector(
            static,
            self.head,
            local=self._local(),
            metrics=self.metrics,
            interval=settings.interval,
            patience=settings.patience,
            timeout=settings.timeout,
        )
        self.discovery = Discovery(settings.sources(), self.collector.watch, static=static, metrics=self.metrics)

    async def run(self) -> None:
        """Collect until cancelled. Then all series have ended."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.collector.run())
                group.create_task(self.discovery.run())
        finally:
            if self.gpus is not None:
                self.gpus.close()

    def _local(self) -> dict[Target, Fetch]:
        """Return the targets inside this process."""
        node = platform.node() or "localhost"
        found: dict[Target, Fetch] = {Target("local:monitor", "monitor", (("instance", node),)): self._own_page}
        if self.gpus is not None:
            found[Target("local:gpu", "gpu", (("instance", node),))] = self.gpus.fetch
        return found

    async def _own_page(self) -> Answer:
        return Answer(self.metrics.render())
