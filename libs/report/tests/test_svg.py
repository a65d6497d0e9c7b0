from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from llm_report.svg import Scale, document, linear, logarithmic, polyline, rectangle, standalone, text


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


@given(st.one_of(st.just(0.0), st.floats(5e-324, 1e-9)))
def test_a_scale_without_values_can_still_be_drawn(nothing: float) -> None:
    assert len(linear(nothing, 0.0, 1.0).ticks()) >= 2
    assert len(logarithmic([], 0.0, 1.0).ticks()) >= 2


def test_values_outside_are_drawn_at_the_edge() -> None:
    scale = Scale(1.0, 10.0, 0.0, 100.0)

    assert (scale(-5.0), scale(99.0)) == (0.0, 100.0)


def test_a_line_breaks_where_a_point_is_missing() -> None:
    assert polyline([(0, 0), (1, 2), None, (3, 4)], "c") == '<path d="M0.0,0.0h0L1.0,2.0M3.0,4.0h0" class="c"/>'
    assert polyline([None, None], "c") == ""


def test_a_negative_size_is_drawn_as_none() -> None:
    assert 'width="0.0" height="0.0"' in rectangle((5, 5), -1, -2, "bar")


def test_words_are_escaped() -> None:
    assert "a &lt;b&gt; &amp; c" in text((0, 0), "a <b> & c")
    assert 'aria-label="&quot;x&quot;"' in document(1, 1, '"x"', [])


def test_a_picture_of_its_own_is_well_formed_and_brings_its_style() -> None:
    picture = ElementTree.fromstring(
        standalone(100, 50, 'a "label"', [text((1, 2), "a < b", "note")], style=".note { fill: red }")
    )

    assert picture.get("aria-label") == 'a "label"'
    assert [child.tag.partition("}")[2] for child in picture] == ["style", "rect", "text"]
