"""A `Source` in memory that a test fills, and what the web's parts need around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm_contract.exposition import read_samples
from llm_monitor.series.selection import NAME, Labels, Matcher, Series, labels_of
from llm_monitor.testing.fleet import ScriptedFleet

BEGIN = 1_800_000_000.0


class Samples:
    """Series by labels; `age` is the resolution that it claims for what is older than `begin`."""

    def __init__(self, resolution: float = 0.0, begin: float = 0.0) -> None:
        self._series: dict[Labels, tuple[list[float], list[float]]] = {}
        self._resolution = resolution
        self._begin = begin

    def put(self, time: float, name: str, value: float, /, **labels: str) -> None:
        times, values = self._series.setdefault(labels_of({NAME: name, **labels}), ([], []))
        times.append(time)
        values.append(value)

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        found = []
        for labels, (times, values) in self._series.items():
            names = dict(labels)
            low, high = np.searchsorted(times, [start, end], side="right")
            if high > low and all(one.matches(names.get(one.name, "")) for one in matchers):
                found.append(Series(labels, np.array(times[low:high]), np.array(values[low:high])))
        return found

    def resolution(self, start: float) -> float:
        return self._resolution if start < self._begin else 0.0


def scrape(samples: Samples, fleet: ScriptedFleet, time: float) -> None:
    """Put the pages of a fleet, as the collector would."""
    names = [*fleet.names, "127.0.0.1:8080", "127.0.0.1:8000"]
    for instance, (job, exporter) in zip(names, fleet.exporters, strict=True):
        target = {"job": job, "instance": instance}
        for sample in read_samples(exporter.page().splitlines()):
            labels = {name.decode(): value.decode() for name, value in sample.labels.items()}
            samples.put(time, sample.name.decode(), sample.value, **labels, **target)
        for name, value in {"up": 1.0, "scrape_duration_seconds": 0.004, "scrape_samples_scraped": 400.0}.items():
            samples.put(time, name, value, **target)


def recorded(seconds: int = 40, engines: int = 2) -> Samples:
    """Return a run of a scripted fleet, one scrape a second from BEGIN on."""
    samples, fleet = Samples(), ScriptedFleet(engines)
    for second in range(seconds + 1):
        fleet.advance(1.0)
        scrape(samples, fleet, BEGIN + second)
    return samples
