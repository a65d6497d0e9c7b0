from collections.abc import Callable

from llm_bench.report.markdown import render_markdown
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


def test_two_runs_make_a_table_with_ratios(make_result: MakeResult) -> None:
    a, b = make_result("old", waits={"chat": 0.2}), make_result("new", waits={"chat": 0.4})

    lines = render_markdown([a, b], "old vs new").splitlines()

    table = [line for line in lines if line.startswith("|")]
    assert lines[0] == "## old vs new"
    assert "- **old**: VALID" in lines
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| chat | old | 20 | 200 ms | 200 ms |")
    assert table[4].startswith("| | ratio | 1.00× | 2.00× | 2.00× |")


def test_an_invalid_run_says_why_and_names_cannot_break_the_table(make_result: MakeResult) -> None:
    text = render_markdown([make_result("a|b *c*", waits={"chat": 0.2}, outcome="reset")], "<x>\n# y")

    assert "- **a\\|b \\*c\\***: **INVALID**\n  - 1 of 20 requests failed (1 reset); limit 1%" in text
    assert text.splitlines()[0] == "## \\<x\\> # y"
