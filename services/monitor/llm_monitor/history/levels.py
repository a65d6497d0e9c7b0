"""The resolutions of the history: for how long each is kept, and in what pieces."""

from __future__ import annotations

from dataclasses import dataclass

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
"""In milliseconds, as all times on disk."""


@dataclass(frozen=True, slots=True)
class Level:
    step: int
    """Time of which one sample is kept, at least."""
    span: int
    """Time in one chunk. A multiple of the finer level's span."""
    keep: int
    """Age up to which chunks are kept."""


LEVELS = (
    Level(SECOND, MINUTE, HOUR),
    Level(10 * SECOND, 10 * MINUTE, DAY),
    Level(MINUTE, HOUR, 30 * DAY),
)


FOREVER = 2**53
"""More milliseconds than any time on disk."""


def to_ms(seconds: float) -> int:
    """Return whole milliseconds; infinity is FOREVER."""
    return round(min(max(seconds * 1000, -FOREVER), FOREVER))
