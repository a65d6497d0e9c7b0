"""The head is compared with a dictionary of samples that keeps everything."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_monitor.series import Head, Labels, Layout, Matcher, Page, labels_of

EVERYTHING = [Matcher("__name__", "=~", ".+")]


def series(name: str, **labels: str) -> Labels:
    return labels_of({"__name__": name, **labels})


def page(**values: float) -> Page:
    return Page.of({series(name): value for name, value in values.items()})


def samples(head: Head, start: float = -math.inf, end: float = math.inf) -> dict[str, list[tuple[float, float | None]]]:
    """Return time and value by metric; None is a stale marker."""
    return {
        dict(found.labels)["__name__"]: [
            (time, None if math.isnan(value) else value)
            for time, value in zip(found.times.tolist(), found.values.tolist(), strict=True)
        ]
        for found in head.select(EVERYTHING, start, end)
    }


def test_a_range_excludes_its_start_and_includes_its_end() -> None:
    head = Head()
    for time in range(5):
        head.append("a", time, page(x=time * 10))
    assert samples(head, 1, 3) == {"x": [(2, 20), (3, 30)]}
    assert samples(head, 4, 9) == {}


def test_a_series_that_the_page_no_longer_has_ends() -> None:
    head = Head()
    head.append("a", 1, page(x=1, y=2))
    head.append("a", 2, page(x=3))
    head.append("a", 3, page(x=4))
    assert samples(head) == {"x": [(1, 1), (2, 3), (3, 4)], "y": [(1, 2), (2, None)]}
    assert "y" not in samples(head, 1, 3), "a marker alone is no sample"


def test_a_series_that_comes_later_has_no_samples_before() -> None:
    head = Head()
    head.append("a", 1, page(x=1))
    head.append("a", 2, page(x=2, y=5))
    assert samples(head)["y"] == [(2, 5)]


def test_the_end_of_a_target_is_written_once_and_a_page_goes_on() -> None:
    head = Head()
    head.append("a", 1, page(x=1))
    head.end("a", 2)
    head.end("a", 3)
    head.end("another", 3)
    assert samples(head) == {"x": [(1, 1), (2, None)]}
    head.append("a", 4, page(x=7))
    assert samples(head) == {"x": [(1, 1), (2, None), (4, 7)]}


def test_an_end_at_the_time_of_the_last_sample_keeps_the_sample() -> None:
    head = Head()
    head.append("a", 5, page(x=1))
    head.end("a", 5)
    assert samples(head) == {"x": [(5, 1), (5.001, None)]}


def test_matchers_select_by_any_label() -> None:
    head = Head()
    head.append("a", 1, Page.of({series("x", job="engine"): 1, series("x", job="router"): 2, series("y"): 3}))

    def found(*matchers: Matcher) -> set[float]:
        return {float(one.values[0]) for one in head.select(matchers, 0, 1)}

    assert found(Matcher("__name__", "=", "x")) == {1, 2}
    assert found(Matcher("__name__", "=", "x"), Matcher("job", "=", "router")) == {2}
    assert found(Matcher("job", "!=", "router")) == {1, 3}
    assert found(Matcher("__name__", "=~", "x|y"), Matcher("job", "=~", "eng.*|")) == {1, 3}
    assert found(Matcher("__name__", "=", "x"), Matcher("__name__", "=", "y")) == set()
    assert found(Matcher("job", "!~", ".+")) == {3}


def test_series_of_one_target_share_their_times() -> None:
    head = Head()
    head.append("a", 1, page(x=1, y=2))
    first, second = head.select(EVERYTHING, 0, 1)
    assert first.times is second.times


def test_memory_is_flat_and_the_last_seconds_are_kept() -> None:
    head = Head(seconds=60)
    layout = Layout(tuple(series("x", number=str(number)) for number in range(50)))
    sizes = set()
    for step in range(4000):
        head.append("a", step * 0.25, Page(layout, np.full(50, float(step))))
        if step > 1000:
            sizes.add(head._blocks["a"]._values.nbytes)
    end = 3999 * 0.25
    assert len(sizes) == 1
    assert sizes.pop() < 50 * 240 * 8 * 1.25
    for found in head.select(EVERYTHING, end - 60, end):
        assert found.values.tolist() == list(range(3760, 4000))


def test_a_selection_does_not_change_when_the_head_moves_on() -> None:
    head = Head(seconds=10)
    for step in range(100):
        head.append("a", step, page(x=step))
    (found,) = head.select(EVERYTHING, 90, 99)
    before = found.times.copy(), found.values.copy()
    for step in range(100, 1000):
        head.append("a", step, page(x=step))
    head.append("a", 5.0, page(x=5))  # the clock was set back
    assert np.array_equal(found.times, before[0])
    assert np.array_equal(found.values, before[1])


def test_series_that_ended_make_room_for_others() -> None:
    head = Head(seconds=10, max_series_of_target=20)
    for step in range(1000):
        head.append("a", step, Page.of({series("x", number=str(step // 10)): step, series("y"): step}))
        assert head.series <= 20
    assert head.dropped["a"] == 0


def test_series_over_the_limit_are_dropped_counted_and_kept_out() -> None:
    head = Head(max_series_of_target=3, max_series=5)
    many = Layout(tuple(series("x", number=str(number)) for number in range(10)), dropped=5)
    for step in range(3):
        head.append("a", step, Page(many, np.arange(10.0)))
        head.append("b", step, Page(many, np.arange(10.0)))
    assert head.series == 5
    assert (head.dropped["a"], head.dropped["b"]) == (7 + 5, 8 + 5), "each is counted once"
    assert (head.refused_of("a"), head.refused_of("b"), head.refused_of("c")) == (12, 13, 0)
    assert [found.values[0] for found in head.select(EVERYTHING, -1, 0)] == [0, 1, 2, 0, 1]


def test_a_target_that_is_gone_makes_room_for_the_refused() -> None:
    head = Head(seconds=10, max_series=2)
    layout = Layout((series("x"), series("y")))
    head.append("old", 0, Page(layout, np.zeros(2)))
    head.append("new", 1, Page(layout, np.ones(2)))
    assert head.series_of("new") == 0
    head.prune(10.5)
    head.append("new", 11, Page(layout, np.ones(2)))
    assert head.series_of("new") == 2
    assert head.series_of("old") == 0


def test_a_clock_that_is_set_back_discards_samples_of_the_future() -> None:
    head = Head()
    for step in range(10):
        head.append("a", step, page(x=step))
    head.append("a", 4.5, page(x=100))
    assert samples(head) == {"x": [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (4.5, 100)]}
    head.append("a", -3, page(y=1))
    assert samples(head)["y"] == [(-3, 1)]


def test_frames_show_what_came_since() -> None:
    head = Head()
    head.append("a", 1, page(x=1))
    head.append("b", 1, page(x=2))
    head.append("a", 2, page(x=3, y=4))
    (frame,) = head.frames(1, 2)
    assert (frame.target, frame.times.tolist()) == ("a", [2])
    assert dict(zip(frame.labels, frame.values[:, 0].tolist(), strict=True)) == {series("x"): 3, series("y"): 4}


NAMES = st.sampled_from("uvwxyz")
STEPS = st.lists(
    st.one_of(
        st.dictionaries(NAMES, st.floats(allow_nan=False), min_size=1),
        st.just("end"),
        st.just("back"),
        st.just("again"),
    ),
    max_size=200,
)


@given(steps=STEPS, spans=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=5))
def test_any_history_reads_as_a_dictionary_of_samples_would(steps: list, spans: list[tuple[int, int]]) -> None:
    seconds = 40.0
    head, model, time, last = Head(seconds=seconds), {}, 0.0, "end"
    for step in steps:
        time += 1
        if step == "back":
            time -= 6
            continue
        last = step = last if step == "again" else step
        values = {} if step == "end" else step
        if step == "end":
            head.end("a", time)
            time = max([time, *(at + 0.001 for points in model.values() for at in points)])
            if all(_ended(points) for points in model.values()):
                continue
        else:
            head.append("a", time, page(**step))
        for name in model:
            model[name] = {at: value for at, value in model[name].items() if at < time}
            if name not in values and not _ended(model[name]):
                model[name][time] = None
        for name, value in values.items():
            model.setdefault(name, {})[time] = value
    for start, length in [*spans, (int(time) - 20, 20)]:
        start = max(start, time - seconds)
        expected = {}
        for name, points in model.items():
            shown = [(at, value) for at, value in sorted(points.items()) if start < at <= start + length]
            if any(value is not None for _, value in shown):
                expected[name] = shown
        assert {name: _tidy(found) for name, found in samples(head, start, start + length).items()} == {
            name: _tidy(found) for name, found in expected.items()
        }


def _ended(points: dict[float, float | None]) -> bool:
    return not points or points[max(points)] is None


def _tidy(points: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Leave out markers before the first sample, and all but the first of several in a row: they say nothing."""
    kept: list[tuple[float, float | None]] = []
    for time, value in points:
        if value is not None or (kept and kept[-1][1] is not None):
            kept.append((time, value))
    return kept
