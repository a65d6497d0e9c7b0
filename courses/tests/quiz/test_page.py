"""The browser's data: one file a module, HTML, every variant, and nothing of the hidden assertions."""

from __future__ import annotations

import json
from pathlib import Path

from llm_course.quiz import page, reading


def test_a_file_for_each_module_is_written(tmp_path: Path) -> None:
    files = page.write_quizzes(tmp_path / "generated")
    assert [file.name for file in files] == [f"quiz-{bank.module:02}.js" for bank in reading.banks()]
    text = files[1].read_text(encoding="utf-8")
    assert text.startswith('course.registerQuiz("2", {')
    assert "The decodes take 20, so 80 are left" not in text, "an assertion's message gives the answer away"


def test_the_data_has_the_pass_mark_and_every_question() -> None:
    data = page.data(reading.bank_of(2))
    assert (data["pass"], data["slug"], len(data["questions"])) == (85, "02-core-concepts", 20)
    assert page.data(reading.bank_of(1))["pass"] == 80
    trace = next(question for question in data["questions"] if question["id"] == "evicted-when")
    assert "<table>" in trace["excerpt"]
    assert all(len(variant["wrong"]) == len(trace["wrong"]) for variant in trace["variants"])
    json.dumps(data)
