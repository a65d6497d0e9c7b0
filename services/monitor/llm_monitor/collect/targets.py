"""A target, the job that it does in the fleet, and what is known about its last scrape."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

Job = str
"""engine, gateway, router, gpu, monitor, or any other name that a configuration gives."""
UNKNOWN_JOB = "unknown"

_JOBS = (
    ("router", re.compile(rb"^router_", re.MULTILINE)),
    ("gateway", re.compile(rb"^gateway_", re.MULTILINE)),
    ("engine", re.compile(rb"^vllm[:_]", re.MULTILINE)),
    ("gpu", re.compile(rb"^(?:gpu_|DCGM_FI_)", re.MULTILINE)),
    ("monitor", re.compile(rb"^monitor_", re.MULTILINE)),
)


class InvalidTarget(ValueError):
    """The message names the target and says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Target:
    """An exporter's page."""

    url: str
    job: Job = ""
    """Empty: detected from the names that it exports."""
    labels: tuple[tuple[str, str], ...] = ()
    key_file: Path | None = field(default=None, kw_only=True)
    """File with the key that it wants; None if it wants none."""
    """Labels of all its series, besides `job` and `instance`. They can name another `instance`."""

    @property
    def instance(self) -> str:
        return dict(self.labels).get("instance") or urlsplit(self.url).netloc or self.url

    def series_labels(self, job: Job) -> dict[str, str]:
        return {**dict(self.labels), "job": job, "instance": self.instance}


@dataclass(slots=True, kw_only=True)
class TargetState:
    """A target's last scrape, for the page and for `check`."""

    url: str
    job: Job
    instance: str
    labels: dict[str, str]
    up: bool = False
    error: str = ""
    """The reason why the last scrape failed; empty if it did not."""
    last_scrape: float = 0.0
    """Unix seconds; 0 before the first."""
    duration: float = 0.0
    samples: int = 0
    dropped: int = 0
    """Series of the last page for which there was no room."""
    garbage: int = 0
    """Lines of the last page that are no samples."""
    clock_skew: float = 0.0
    """Seconds that the target's clock is ahead, as far as its Date header tells; 0 within the header's second."""


def target_of(address: str, job: Job = "", labels: dict[str, str] | None = None) -> Target:
    """Return the target at `host:port` or at a URL; its path is /metrics if it has none. Raises InvalidTarget."""
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidTarget(f"{address!r} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"\s", address):
        raise InvalidTarget(f"{address!r} is no target; a target is host:port or http(s)://host[:port][/path]")
    if parts.username is not None:
        raise InvalidTarget(f"the target at {parts.hostname} has a user in its URL, which would be shown")
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    return Target(parts._replace(path=path, fragment="").geturl(), job, tuple(sorted((labels or {}).items())))


def detect_job(body: bytes) -> Job:
    """Return what exports a page, by its metrics' names."""
    return next((job for job, names in _JOBS if names.search(body)), UNKNOWN_JOB)
