"""Levels of x86-64 that libraries are built for ahead of time: a container image runs where it was not compiled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Level:
    """A set of instructions: the compiler's flags for it, and Linux' names of those that must be there."""

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str]


_V3 = frozenset({"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
LEVELS = (
    Level("x86-64-v4-vnni", ("-march=x86-64-v4", "-mavx512vnni"), _V4 | {"avx512_vnni"}),
    Level("x86-64-v3", ("-march=x86-64-v3",), _V3),
)
"""Best first."""


def runnable() -> list[Level]:
    """Return the levels that this machine's processor can run, best first."""
    instructions = _instructions()
    return [level for level in LEVELS if level.needs <= instructions]


def _instructions() -> set[str]:
    """Return the flags of the first processor; nothing where Linux does not list them."""
    try:
        found = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()
