from hypothesis import given
from hypothesis import strategies as st

from llm_bench.report.svg import Scale, document, linear, logarithmic, text


@given(values=st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=20))
def test_a_logarithmic_scale_holds_its_values_in_order_with_some_ticks(values: list[float]) -> None:
    scale = logarithmic(values, 0.0, 100.0)

    places = [scale(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 100
    assert 2 <= len(scale.ticks()) <= 9
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())


@given(high=st.floats(1e-3, 1e6))
def test_a_linear_scale_begins_at_zero_and_has_round_ticks(high: float) -> None:
    scale = linear(high, 200.0, 10.0)

    ticks = scale.ticks()
    assert scale(0.0) == 200
    assert 10 <= scale(high) < 200
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 7


def test_values_outside_are_drawn_at_the_edge() -> None:
    scale = Scale(1.0, 10.0, 0.0, 100.0)

    assert (scale(-5.0), scale(99.0)) == (0.0, 100.0)


def test_a_scale_without_values_can_still_be_drawn() -> None:
    assert len(logarithmic([], 0.0, 1.0).ticks()) >= 2
    assert len(linear(0.0, 0.0, 1.0).ticks()) >= 2


def test_words_are_escaped() -> None:
    assert "a &lt;b&gt; &amp; c" in text(0, 0, "a <b> & c")
    assert 'aria-label="&quot;x&quot;"' in document(1, 1, '"x"', [])
