from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_traces.clock import NANOSECONDS, parse_time

MIDNIGHT = int(datetime(2024, 5, 10, tzinfo=UTC).timestamp()) * NANOSECONDS


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2024-05-10 00:00:00", 0),
        ("2024-05-10T00:00:00", 0),
        ("2024-05-10 00:00:00Z", 0),
        ("2024-05-10t00:00:00z", 0),
        ("2024-05-10 00:00:00 UTC", 0),
        ("2024-05-10 00:00:00+00:00", 0),
        ("2024-05-10 05:30:00+05:30", 0),
        ("2024-05-10 05:30:00+0530", 0),
        ("2024-05-10 05:00:00 +05", 0),
        ("2024-05-09 19:00:00-05:00", 0),
        ("2024-05-09T19:00:00.25-05:00", 250_000_000),
        (" 2024-05-10 00:00:00.009930+00:00 ", 9_930_000),
        ("2024-05-10 00:00:00.6805900", 680_590_000),
        ("2024-05-10 00:00:00.000000001", 1),
        ("2024-05-10 00:00:00.00000000199", 1),
        ("2024-05-10 00:00:00,5", 500_000_000),
        ("2024-05-09 23:59:59.9999999", -100),
    ],
)
def test_a_time_is_utc_unless_it_carries_an_offset(text: str, nanoseconds: int) -> None:
    assert parse_time(text) - MIDNIGHT == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2024-05-10", "00:00:00", "1715299200", "2024-05-10 00:00", "2024-13-10 00:00:00",
        "2024-05-10 24:00:00", "2024-05-10 00:00:00.", "2024-05-10 00:00:00+24:00", "2024-05-10 00:00:00+05:60",
        "2024-05-10 00:00:00 CET", "2024-05-10 00:00:00+5", "2024-05-10 00:00:00ZZ", "٢٠٢٤-05-10 00:00:00",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)


@given(
    moment=st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),
    offset=st.integers(-1439, 1439),
    separator=st.sampled_from(["T", " "]),
)
def test_a_moment_is_the_same_in_every_zone(moment: datetime, offset: int, separator: str) -> None:
    there = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))

    expected = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    assert parse_time(there.isoformat(separator)) == expected
    assert parse_time(moment.isoformat(separator)) == expected
