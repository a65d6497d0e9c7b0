"""Times of day in traces, in nanoseconds, so that no digit is lost before times are made relative.

A time is UTC unless it carries an offset:

    2023-11-16 18:15:46.6805900          Azure 2023: seven digits, UTC
    2024-05-10 00:00:00.009930+00:00     Azure 2024
    2024-05-10T05:30:00+05:30            the same moment as 00:00:00Z; also +0530 and +05
    2024-05-10 00:00:00Z                 whole seconds
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

NANOSECONDS = 10**9
_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)([.,](?P<fraction>\d+))?"
    r" ?(?P<zone>Z|UTC|(?P<sign>[+-])(?P<hours>\d\d)(:?(?P<minutes>\d\d))?)?",
    re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Return nanoseconds since 1970, UTC; digits beyond the ninth are cut. Raises ValueError with what is expected."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2024-05-10 00:00:00.009930+00:00")
    try:
        moment = datetime.fromisoformat(f"{match['day']}T{match['time']}+00:00")
        offset = _offset(match)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None
    fraction = int((match["fraction"] or "")[:9].ljust(9, "0"))
    return (moment - offset - _EPOCH) // timedelta(seconds=1) * NANOSECONDS + fraction


def _offset(match: re.Match[str]) -> timedelta:
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError("an offset must be within ±23:59")
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if match["sign"] == "-" else offset


def to_nanoseconds(seconds: float) -> int:
    """Return a time that is a number of seconds; raises ValueError if it is not finite or below 0."""
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"a time must be finite and not below 0, not {seconds}")
    return round(seconds * NANOSECONDS)
