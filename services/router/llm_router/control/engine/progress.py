"""The metrics of a replica's engine: its load for the autoscaler, and whether it makes progress.

An engine can answer /health while its requests stall, so health is progress: requests run, and within the timeout a
token is computed or a request ends. An engine that does not answer /metrics for that long makes none either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llm_contract import metrics
from llm_contract.exposition import read_samples

LOAD = {
    metrics.REQUESTS_RUNNING.name.encode(): "running",
    metrics.REQUESTS_WAITING.name.encode(): "waiting",
    metrics.KV_CACHE_USAGE.name.encode(): "kv_usage",
}
WORK = {each.name.encode() for each in (metrics.PROMPT_TOKENS, metrics.GENERATION_TOKENS, metrics.REQUEST_SUCCESS)}
WANTED = LOAD.keys() | WORK


@dataclass(frozen=True, slots=True)
class EngineLoad:
    running: float = 0
    waiting: float = 0
    kv_usage: float = 0
    work: float = 0
    """Tokens and requests finished since the engine started."""

    @property
    def idle(self) -> bool:
        return self.running + self.waiting == 0


def read_load(lines: Iterable[bytes]) -> EngineLoad:
    """Return the load from a page of metrics; what it does not report is 0."""
    values = dict.fromkeys(LOAD.values(), 0.0)
    work = 0.0
    for sample in read_samples(lines, WANTED):
        if sample.name in WORK:
            work += sample.value
        else:
            values[LOAD[sample.name]] += sample.value
    return EngineLoad(**values, work=work)


class Progress:
    """The last time at which the engine was seen to work or to be idle. `timeout` is in seconds; 0: never stalled."""

    def __init__(self, timeout: float, now: float) -> None:
        self.load = EngineLoad()
        self._timeout = timeout
        self._last = now

    def observe(self, load: EngineLoad | None, now: float) -> None:
        """Take over a scrape; None if it failed."""
        if load is None:
            return
        if load.idle or load.work != self.load.work:
            self._last = now
        self.load = load

    def stalled(self, now: float) -> str:
        """Return why the engine has failed; empty if it has not."""
        silent = now - self._last
        if not self._timeout or silent <= self._timeout:
            return ""
        return f"no token for {silent:.1f} s, with {self.load.running:g} requests running when it last reported"
