"""`./lab progress` and its siblings, as the learner calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_course import cli
from llm_course.cards import commands as cards
from llm_course.progress import commands, marks
from llm_course.progress.log import Log
from llm_course.quiz import commands as quiz


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    path = tmp_path / "learn" / "progress.jsonl"
    for module in (commands, cards, quiz):
        monkeypatch.setattr(module, "LOG", path)
    return Log(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 0
    return capsys.readouterr().out


def test_json_has_every_module(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.add("exercise", "2.3", event="passed")
    log.add("quiz", "2", event="finished", score=18, of=20)
    log.add("card", "blocks-three-states", grade=3)
    found = json.loads(run(capsys, "progress", "--json"))
    assert [module["module"] for module in found["modules"]] == list(range(1, 10))
    module = found["modules"][1]
    assert (module["exercises_passed"], module["exercises"], module["quiz_best"]) == (["2.3"], 7, 90)
    assert (module["cards_seen"], module["cards_known"]) == (1, 0)
    assert found["predictions"]["count"] == 0


def test_the_table_is_for_people(log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    log.add("quiz", "2", event="finished", score=18, of=20)
    log.add("prediction", "2.7", name="steps", predicted=10, actual=11)
    text = run(capsys, "progress")
    assert "2 Core Concepts" in text
    assert "90% ✓" in text
    assert "1 predictions: 100% within 10%" in text


def test_ticks_are_kept_and_taken_back(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "progress", "tick", "2/3")
    assert "nothing to change" in run(capsys, "progress", "tick", "2/3")
    run(capsys, "progress", "tick", "2/1")
    run(capsys, "progress", "untick", "2/1")
    assert "✓ 2/3" in run(capsys, "progress", "module", "2")
    assert marks.marked(Log(commands.LOG), "criterion") == {"2/3"}
    assert cli.main(["progress", "tick", "2/99"]) == 2
    assert "no criterion or deliverable '2/99'" in capsys.readouterr().err


def test_a_deliverable_is_ticked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    key = next(line.split()[1] for line in run(capsys, "progress", "module", "2").splitlines() if "2/" in line)
    run(capsys, "progress", "tick", key)
    assert marks.marked(Log(commands.LOG), "deliverable") == {key}


def test_export_and_import(log: Log, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log.add("card", "a", grade=3)
    run(capsys, "progress", "export", str(tmp_path / "out.jsonl"))
    commands.LOG.unlink()
    assert run(capsys, "progress", "import", str(tmp_path / "out.jsonl")) == "1 new events\n"
    assert run(capsys, "progress", "export") == (tmp_path / "out.jsonl").read_text(encoding="utf-8")


def test_an_anki_deck_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "cards", "anki", str(tmp_path / "d.apkg")).endswith("cards\n")
    assert (tmp_path / "d.apkg").stat().st_size > 10_000


def test_cards_are_reviewed(log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["", "3", "", "9", "1", "q"])
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    run(capsys, "cards")
    assert [event.facts["grade"] for event in Log(commands.LOG).of("card")] == [3, 1]


def test_a_quiz_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["quiz", "7"]) == 1
    assert "module 7 has no quiz" in capsys.readouterr().err
    assert cli.main(["quiz", "two"]) == 2
    assert cli.main(["quiz", "2", "nothing"]) == 2
    assert "module 2 has no question nothing" in capsys.readouterr().err
