"""Markdown becomes HTML, raw HTML shows as text, and data is one call of JavaScript."""

from __future__ import annotations

from llm_course.prose import html


def test_code_and_tables_are_marked_up() -> None:
    assert html.inline("`a < b` and **c**") == "<code>a &lt; b</code> and <strong>c</strong>"
    assert "<table>" in html.block("| a |\n| --- |\n| 1 |")


def test_raw_html_is_text() -> None:
    assert "<script>" not in html.block("<script>alert(1)</script>") + html.inline("<script>")


def test_a_script_is_one_call() -> None:
    assert html.script("registerQuiz", "2", {"b": "é", "a": 1}) == 'course.registerQuiz("2", {"a": 1, "b": "é"});\n'
