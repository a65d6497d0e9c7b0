import pytest

from llm_bench.report.units import count, ratio, seconds, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.00123, "1.2 ms"), (0.0099, "10 ms"), (0.0842, "84 ms"), (0.9996, "1.00 s"),
        (8.4, "8.40 s"), (9.999, "10.0 s"), (84.04, "84.0 s"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0%"), (0.421, "42%"), (0.9951, "99.5%"), (1.0, "100%")]
)
def test_share(value: float | None, text: str) -> None:
    assert share(value) == text


def test_count_and_ratio() -> None:
    assert count(130_112) == "130,112"
    assert [ratio(value) for value in (None, 0.042, 0.42, 4.2, 42.0)] == ["–", "0.042×", "0.42×", "4.20×", "42×"]
