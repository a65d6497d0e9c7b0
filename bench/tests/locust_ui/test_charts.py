from types import SimpleNamespace
from typing import Any

from llm_bench.locust_ui.charts import draw_charts
from llm_bench.locust_ui.history import History, HistoryPoint

POINTS = [
    HistoryPoint(2.0, {("chat", "TTFT"): (50.0, 90.0), ("batch", "TTFT"): (60.0, 70.0)}),
    HistoryPoint(4.0, {("chat", "TTFT"): (55.0, 400.0), ("chat", "ITL"): (8.0, 12.0)}),
]


def test_each_metric_has_a_chart_and_each_class_its_lines() -> None:
    html = draw_charts(POINTS)

    assert html.count("<svg") == html.count("<figure>") == 3
    assert html.count('class="thin hue0"') == html.count('class="thin fine hue0"') == 1  # batch, in TTFT
    assert html.count('class="thin hue1"') == html.count('class="thin fine hue1"') == 2  # chat, in TTFT and ITL
    assert "400 ms" in html


def test_names_are_written_as_text() -> None:
    assert '<b class="hue0">&lt;i&gt;</b>' in draw_charts([HistoryPoint(2.0, {("<i>", "TTFT"): (1.0, 2.0)})])


def test_before_the_first_value_there_is_nothing() -> None:
    assert draw_charts([]) == draw_charts([HistoryPoint(2.0, {})]) == ""


def entry(count: int, current: float | None, total: float) -> Any:
    return SimpleNamespace(
        num_requests=count,
        get_current_response_time_percentile=lambda _: current,
        get_response_time_percentile=lambda _: total,
    )


def test_a_point_is_of_the_last_seconds_and_of_all_while_there_are_not_ten() -> None:
    history = History()
    entries = {("chat", "TTFT"): entry(9, 12.0, 99.0), ("chat", "ITL"): entry(9, None, 8.0),
               ("chat", "SSE"): entry(9, 1.0, 1.0), ("chat", "TPOT"): entry(0, None, 0.0)}  # fmt: skip

    history.sample(SimpleNamespace(entries=entries))

    assert [point.values for point in history.points] == [{("chat", "TTFT"): (12.0, 12.0), ("chat", "ITL"): (8.0, 8.0)}]
    history.begin()
    assert not history.points
