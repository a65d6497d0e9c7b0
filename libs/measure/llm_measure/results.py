"""Results on disk: the figures, the machine and the time, without names of hosts, users or folders."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from llm_measure.processes import ENVIRONMENT, ROOT

LIBRARIES = ("aiohttp", "httptools", "uvloop", "orjson")


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "libraries": dict(_installed(LIBRARIES)),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def _installed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and version of each library; a machine with a GPU may lack those of the servers."""
    for name in names:
        with suppress(PackageNotFoundError):
            yield name, version(name)


def write(program: str, results: dict[str, Any]) -> Path:
    """Write results/NAME.json next to the program NAME.py, with the time and the commit."""
    file = Path(program).resolve()
    stamp = {"benchmark": file.stem, "date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": _commit()}
    path = file.parent / "results" / f"{file.stem}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**stamp, **results}, indent=2) + "\n")
    return path


def check(found: dict[str, Any], bars: dict[str, tuple[float, str, float]]) -> bool:
    """Print each bar (measured, "<=" or ">=", limit) and add it to `found`. Return whether all hold."""
    found["bars"] = {}
    for name, (value, relation, limit) in bars.items():
        holds = value >= limit if relation == ">=" else value <= limit
        print(f"{'holds ' if holds else 'BROKEN'}  {name}: {value:.2f} {relation} {limit:g}")
        found["bars"][name] = {"measured": value, "relation": relation, "limit": limit, "holds": holds}
    return all(bar["holds"] for bar in found["bars"].values())


def missed(found: dict[str, Any]) -> str:
    """Return a sentence with the bars that a run missed, "" if it missed none. `found` has what `check` added."""
    broken = [
        f"{name}: {bar['measured']:.3g} where {bar['relation']} {bar['limit']:g} was the aim"
        for name, bar in found["bars"].items()
        if not bar["holds"]
    ]
    return f"Missed here: {'; '.join(broken)}. " if broken else ""


def measured_on(found: dict[str, Any]) -> str:
    """Return the machine and the date of a run, in parentheses."""
    machine = found["machine"]
    usable = machine.get("usable_cores", machine["cores"])
    of_more = f" of {machine['cores']}" if usable < machine["cores"] else ""
    return f"({usable}{of_more} cores of {machine['cpu']}, {found['date']})"


def load(*arguments: str) -> dict[str, Any]:
    """Run the load client in its own process and return its result."""
    command = (sys.executable, "-m", "llm_measure.load", *arguments)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, **ENVIRONMENT})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _commit() -> str:
    done = subprocess.run(("git", "rev-parse", "--short", "HEAD"), cwd=ROOT, capture_output=True, check=False)
    return done.stdout.decode().strip() or "unknown"


def _usable_cores() -> int | None:
    """Return the number of cores that this process is bound to; all of them where the system binds none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
