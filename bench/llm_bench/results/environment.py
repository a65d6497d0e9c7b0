"""The machine and software of a run: enough to tell whether two runs are comparable."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llm_bench

_PACKAGES = ("locust", "gevent", "geventhttpclient", "numpy", "orjson", "tokenizers")


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine that sends the load."""

    python: str
    system: str
    cpu: str
    cores: int
    """Cores that this process can use."""
    memory_bytes: int
    bench: str
    packages: dict[str, str] = field(default_factory=dict)
    load_average: float | None = None
    """Load average over the minute before the run: the machine's other work."""

    @property
    def fingerprint(self) -> str:
        """Hash of the machine and its software, without the load average."""
        parts = [self.python, self.system, self.cpu, self.cores, self.memory_bytes, self.bench, self.packages]
        return blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def describe_environment() -> Environment:
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        bench=llm_bench.__version__,
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        load_average=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
