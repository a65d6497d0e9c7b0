"""The collector's section of the configuration: which targets, how they are found, and how often they are scraped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, model_validator

from llm_monitor.collect.collector import INTERVAL, PATIENCE, TIMEOUT
from llm_monitor.collect.discovery import FileSource, HttpSource, KubernetesSource, Source
from llm_monitor.collect.targets import Target, target_of
from llm_monitor.series.head import MAX_SERIES, MAX_SERIES_OF_TARGET, Head


def _address(text: str) -> str:
    target_of(text)  # raises ValueError
    return text


Address = Annotated[str, AfterValidator(_address)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetSettings(_Section):
    """A target that is known from the start."""

    address: Address = Field(description="host:port or URL; its path is /metrics if it has none")
    job: str = Field("", description="engine, gateway, router, gpu, … ; empty: detected from the names that it exports")
    labels: dict[str, str] = Field({}, description="labels of all its series; `instance` names it")
    key_file: FilePath | None = Field(None, description="file with the key for its metrics, as the gateway wants one")

    def target(self) -> Target:
        return replace(target_of(self.address, self.job, self.labels), key_file=self.key_file)


class KubernetesSettings(_Section):
    """Pods with the annotation prometheus.io/scrape."""

    namespaces: list[str] = Field([], description='empty: the monitor\'s own; "*": all')
    selector: str = Field("", description="label selector of the pods")
    key_file: FilePath | None = Field(None, description="file with the key for their metrics, as the gateway wants one")


class CollectSettings(_Section):
    targets: list[Address | TargetSettings] = Field([], description="static targets")
    files: list[Path] = Field([], description="files of target groups; they are read again when they change")
    routers: list[Address] = Field([], description="routers whose /-/targets names the engines")
    kubernetes: KubernetesSettings | None = Field(None, description="targets in this cluster")
    gpus: bool = Field(True, description="watch this machine's NVIDIA GPUs, if it has any")
    interval: float = Field(INTERVAL, ge=0.05, le=60, description="seconds between two scrapes of a target")
    patience: float = Field(PATIENCE, gt=0, description="seconds that a cycle waits for its targets")
    timeout: float = Field(TIMEOUT, gt=0, description="seconds that one scrape can take")
    head_seconds: float = Field(330, ge=120, description="seconds of all samples in memory")
    max_series: int = Field(MAX_SERIES, ge=1, description="series in memory; more are dropped and counted")
    max_series_of_target: int = Field(MAX_SERIES_OF_TARGET, ge=1, description="the same of one target")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.patience > self.interval:
            raise ValueError(f"patience is {self.patience:g} and interval {self.interval:g}; it can be at most that")
        return self

    def head(self) -> Head:
        return Head(self.head_seconds, self.max_series, self.max_series_of_target)

    def static_targets(self) -> list[Target]:
        return [target_of(one) if isinstance(one, str) else one.target() for one in self.targets]

    def sources(self) -> list[Source]:
        """Return the sources of all other targets."""
        found: list[Source] = [FileSource(path) for path in self.files]
        found += [HttpSource(f"http://{url}" if "://" not in url else url) for url in self.routers]
        if self.kubernetes is not None:
            pods = self.kubernetes
            found.append(KubernetesSource(pods.namespaces, label_selector=pods.selector, key_file=pods.key_file))
        return found
