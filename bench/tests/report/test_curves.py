from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from llm_bench.report.curves import by_rate, headline, render_curves, write_curves
from llm_bench.results.result import Result
from llm_bench.workload.scenario import scaled

MakeResult = Callable[..., Result]


@pytest.fixture
def sweep(make_result: MakeResult) -> list[Result]:
    """Waits of chat grow with the rate; its SLO of a second breaks between 4 and 8 requests per second."""
    made = []
    for rate, wait in ((8.0, 3.0), (2.0, 0.1), (4.0, 0.2), (2.0, 0.12)):
        result = make_result(f"{rate:g}/s", waits={"chat": wait, "batch": 0.1})
        made.append(replace(result, scenario=scaled(result.scenario, rate)))
    return made


def test_runs_come_by_rising_rate(sweep: list[Result]) -> None:
    assert {rate: len(runs) for rate, runs in by_rate(sweep).items()} == {2.0: 2, 4.0: 1, 8.0: 1}
    assert list(by_rate(sweep)) == [2.0, 4.0, 8.0]


def test_the_headline_says_where_the_slos_break(sweep: list[Result]) -> None:
    def said(results: list[Result]) -> str:
        return headline(by_rate(results))

    assert said(sweep) == "The SLOs of 99% of requests are met up to 4 requests per second; at 8 they break."
    assert said(sweep[1:]).endswith("up to 4 requests per second; no higher one was tried.")
    assert said(sweep[:1]) == "No rate meets the SLOs of 99% of requests: 8 per second is too high."


def test_the_page_stands_alone_and_names_every_rate(sweep: list[Result]) -> None:
    page = render_curves(sweep, "A sweep")

    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "http-equiv" not in page
    assert "src=" not in page
    assert page.count("<svg") == 5
    assert page.count('class="whisker') >= 4  # the rate that was run twice has intervals
    assert all(f"{rate}/s" in page for rate in (2, 4, 8))
    assert "--hue0" in page


def test_rates_where_nothing_was_answered_still_make_a_page(make_result: MakeResult, tmp_path: Path) -> None:
    silent = make_result("silent", waits={"chat": 0.3}, outcome="rejected", per_class=1)
    assert headline(by_rate([silent])) == "No request completed at any rate."

    write_curves([silent], tmp_path / "sweep.html", title="<title>")

    assert "&lt;title&gt;" in (tmp_path / "sweep.html").read_text()
