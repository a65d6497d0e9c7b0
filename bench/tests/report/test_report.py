import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from llm_bench.errors import ResultError
from llm_bench.measure.server_metrics import Agreement, ServerMetrics
from llm_bench.measure.summary import summarise
from llm_bench.report import write_report
from llm_bench.report.compare import compare
from llm_bench.report.headline import headline
from llm_bench.report.markdown import render_markdown
from llm_bench.report.page import render_page
from llm_bench.report.table import print_table
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]
Pair = tuple[Result, Result]


@pytest.fixture
def pair(make_result: MakeResult) -> Pair:
    fcfs = make_result("fcfs", waits={"interactive": 4.0, "batch": 4.0})
    priority = make_result("priority", waits={"interactive": 0.25, "batch": 6.0})
    return fcfs, priority


class Outline(HTMLParser):
    """Which tags the page has, and that they close in order."""

    VOID = ("meta", "br", "line", "rect", "circle", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_two_runs_have_the_same_schedule_although_later_turns_came_at_other_times(pair: Pair) -> None:
    for position, result in enumerate(pair):
        result.requests[1].follows, result.requests[1].scheduled_at = 0, 1.0 + position

    assert "The same 40 requests, at the same times" in render_page(pair, "Two runs")


def test_ratios_are_to_the_first_run(pair: Pair) -> None:
    rows = {(row.class_name, row.metric): row for row in compare(pair)}

    assert rows["interactive", "ttft_p99"].values == pytest.approx([4.0, 0.25])
    assert rows["interactive", "ttft_p99"].ratios == pytest.approx([1.0, 0.0625])
    assert rows["batch", "longest_wait"].ratios == pytest.approx([1.0, 1.5])
    assert rows["interactive", "slo_attainment"].values == [0.0, 1.0]
    assert rows["interactive", "slo_attainment"].ratios == [None, None]  # there is no ratio to nothing
    assert rows["all", "total_tokens"].ratios == [1.0, 1.0]


def test_the_page_is_whole_and_fetches_nothing(pair: Pair) -> None:
    page = render_page(pair, "FCFS and priority")

    outline = Outline(page)
    assert outline.open == []
    assert outline.links == []
    assert "script" not in outline.seen
    assert "url(" not in page
    assert "@import" not in page
    assert outline.seen.count("svg") == 2 + 2 + 2 + 2 + 2  # timelines, queues, TTFT, tail and SLO, TPOT
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))


def test_the_page_holds_the_figures(pair: Pair) -> None:
    page = render_page(pair, "A <title> & more")

    assert "A &lt;title&gt; &amp; more" in page
    for figure in ("250 ms", "4.00 s", "6.00 s", "16× sooner", "1.5× later", "0.062×", "0% → 100%", "fcfs", "priority"):
        assert figure in page
    assert page.count("VALID") >= 2
    assert pair[0].environment.fingerprint in page
    assert "P99 takes 368 samples" in page


def test_every_request_is_a_dot(pair: Pair) -> None:
    page = render_page(pair, "t")

    paths = re.findall(r'<path d="((?:M[\d.,]+h0)+)" class="dots', page)
    assert sum(path.count("h0") for path in paths) == 2 * 40


def test_the_headline_says_what_happened_to_the_tightest_class(pair: Pair) -> None:
    assert headline(pair) == (
        "Interactive requests have their first token 16× sooner at P99 with priority than with fcfs: "
        "250 ms against 4.00 s."
    )
    assert headline(pair[:1]) == "99% of interactive requests had their first token within 4.00 s."


@pytest.mark.parametrize("outcome", ["rejected", "http_500", "stream_error", "incomplete"])
def test_a_run_in_which_nothing_completed_says_so_first(
    make_result: MakeResult, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = make_result("broken", waits={"interactive": 0.3}, outcome=outcome, per_class=1)
    fine = make_result("fine", waits={"interactive": 0.3})
    said = f"No request of broken completed: 1 sent (1 {outcome})."

    print_table([broken], Console(width=120))

    assert headline([broken]) == headline([broken, fine]) == headline([fine, broken]) == said
    assert said in render_page([broken], "t")
    assert render_markdown([broken], "t").splitlines()[2] == f"**{said}**".replace("_", r"\_")
    assert capsys.readouterr().out.startswith(said)


def test_a_class_in_which_nothing_completed_is_named(make_result: MakeResult) -> None:
    result = make_result("run", waits={"interactive": 0.3, "batch": 1.0}, per_class=1)
    result.requests[0].outcome = "http_500"
    result = replace(result, summary=summarise(result.scenario, result.requests))

    assert headline([result]) == "None of the 1 interactive requests of run completed."


def test_an_invalid_run_says_so_with_its_reason(make_result: MakeResult) -> None:
    broken = make_result("broken", waits={"interactive": 0.3}, outcome="reset")

    page = render_page([broken], "one run")

    assert "INVALID" in page
    assert "1 of 20 requests failed (1 reset); limit 1%" in page
    assert '<path d="M' in page
    assert 'class="cross hue0"' in page


def test_runs_where_nothing_was_answered_still_make_a_page(make_result: MakeResult) -> None:
    silent = make_result("silent", waits={"interactive": 0.3}, outcome="rejected", per_class=1)

    page = render_page([silent, make_result("fine", waits={"interactive": 0.3})], "t")

    assert "no sample" in page
    assert Outline(page).open == []


def test_three_runs_and_classes_that_only_one_run_has(make_result: MakeResult, pair: Pair) -> None:
    third = make_result("third", waits={"interactive": 0.5, "bulk": 9.0})

    page = render_page([*pair, third], "t")

    assert Outline(page).open == []
    assert "run2" in page


def test_files_are_written_and_the_json_agrees_with_the_page(tmp_path: Path, pair: Pair) -> None:
    write_report(pair, title="T", html=tmp_path / "new" / "report.html", json=tmp_path / "report.json")

    data = orjson.loads((tmp_path / "report.json").read_bytes())
    assert (tmp_path / "new" / "report.html").read_text().startswith("<!doctype html>")
    assert data["title"] == "T"
    assert [run["run"]["name"] for run in data["runs"]] == ["fcfs", "priority"]
    assert data["runs"][1]["summary"]["classes"]["interactive"]["ttft"]["percentiles"]["p99"] == pytest.approx(0.25)
    row = next(r for r in data["comparison"] if r["class_name"] == "interactive" and r["metric"] == "ttft_p99")
    assert row["ratios"][1] == pytest.approx(0.0625)
    assert "requests" not in data["runs"][0]


def test_a_report_that_cannot_be_written_is_reported(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ResultError, match="cannot be written"):
        write_report(pair, json=tmp_path / "file" / "report.json")


def test_the_terminal_table_fits_80_columns_and_shows_the_verdict(pair: Pair) -> None:
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        print_table(pair, console)

    text = capture.get()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "interactive" in text
    assert "0.062×" in text
    assert re.search(r"priority +20 +250 ms +250 ms +100 ms +100% +250 ms +200", text)
    assert "fcfs: VALID" in text


def test_what_the_server_said_stands_beneath_the_requests(make_result: MakeResult) -> None:
    server = ServerMetrics(
        ["http://target/metrics"],
        [0.0, 0.5, 1.0],
        {"running": [0.0, 4.0, 2.0], "waiting": [0.0, 1.0, 0.0], "generation_tokens": [0.0, 50.0, 150.0]},
        [Agreement("TTFT", 0.99, 0.21, 0.1, 0.25, "same bucket"), Agreement("TPOT", 0.5, 0.9, 0.01, None, "apart")],
    )
    result = replace(make_result("run", waits={"chat": 0.2}), server=server)

    page = render_page([result], "t")

    assert Outline(page).open == []
    assert re.search(
        r"Server: requests <span class=.key hue5.>running</span> <span class=.key hue2.>waiting</span>", page
    )
    assert "Server: output tokens per second" in page
    assert "Server: KV cache" not in page
    assert re.search(
        r"TTFT</td><td>P99</td><td>210 ms</td><td>100 ms … 250 ms</td><td class=.left valid.>same bucket", page
    )
    assert re.search(r"10 ms … –</td><td class=.left invalid.>apart", page)


def test_only_runs_of_one_load_are_said_to_be(make_result: MakeResult, pair: Pair) -> None:
    assert "The same 40 requests, at the same times, sent twice." in render_page(pair, "t")
    shorter = make_result("shorter", waits={"interactive": 4.0, "batch": 4.0}, per_class=5)
    assert "The runs had different loads: 40, 10 requests." in render_page([pair[0], shorter], "t")


def test_the_markdown_file_is_written(tmp_path: Path, pair: Pair) -> None:
    write_report(pair, markdown=tmp_path / "r.md")

    assert (tmp_path / "r.md").read_text().startswith("## fcfs vs priority\n")
