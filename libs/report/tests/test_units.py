import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_report import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.00123, "1.2 ms"), (0.0099, "10 ms"), (0.0842, "84 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"),
        (8.4, "8.40 s"), (9.999, "10.0 s"), (84.04, "84.0 s"), (99.96, "100 s"), (123.4, "123 s"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.0, "0%"), (0.421, "42%"), (0.98999, "98%"), (0.99, "99.0%"), (0.9951, "99.5%"),
        (0.99996, "99.9%"), (1.0, "100%"),
    ],
)  # fmt: skip
def test_share(value: float | None, text: str) -> None:
    assert units.share(value) == text


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_below_all_never_shows_as_all(value: float) -> None:
    assert units.share(value) != "100%" or value > 1 - 1e-8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.duration(0.5), "500 ms"),
        (units.duration(30.0), "30 s"),
        (units.duration(0.0), "0 s"),
        (units.count(130_112), "130,112"),
        (units.rate(1.234), "1.23"),
        (units.rate(1026.4), "1,026"),
        (units.span(86400), "day"),
        (units.span(7200), "2 hours"),
        (units.span(61), "61 seconds"),
        (units.clock(1e9), "01:46"),
        (units.date(1e9), "2001-09-09 01:46 UTC"),
    ],
)
def test_others(text: str, expected: str) -> None:
    assert text == expected


def test_ratio() -> None:
    values = (None, 0.042, 0.42, 4.2, 42.0)
    assert [units.ratio(value) for value in values] == ["–", "0.042×", "0.42×", "4.20×", "42×"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (13_123_920, "13.1 MB"),
        (269_000_000, "269 MB"),
        (999_600_000, "1.00 GB"),
        (16e12, "16.0 TB"),
        (None, "–"),
    ],
)
def test_sizes(value: float | None, shown: str) -> None:
    assert units.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0042, "+0.42%"),
        (-0.042, "-4.2%"),
        (0.42, "+42%"),
        (4.2, "+420%"),
        (0.0, "+0.00%"),
        (-1e-6, "+0.00%"),
        (0.00996, "+1.0%"),
    ],
)
def test_changes(value: float, shown: str) -> None:
    assert units.change(value) == shown
