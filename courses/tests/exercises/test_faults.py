"""The faults: patches apply or say that they do not, hidden tests notice them, and a learner's answers are judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.errors import CourseError, UsageError
from llm_course.exercises import faults, overlay
from llm_course.exercises.faults import FaultLab
from llm_course.exercises.patches import Place, apply
from llm_course.progress.log import Log

PATCH = """\
diff --git a/x/a.py b/x/a.py
--- a/x/a.py
+++ b/x/a.py
@@ -9,3 +9,4 @@ def f():
 two
-three
+THREE
+three and a half

@@ -20 +21,0 @@
-six
"""
TEXT = "one\ntwo\nthree\n\nfive\nsix\n"


def test_hunks_find_their_lines_wherever_they_are_now() -> None:
    texts, places = apply(PATCH, lambda name: TEXT)
    assert texts == {"x/a.py": "one\ntwo\nTHREE\nthree and a half\n\nfive\n\n"}
    assert places[0] == Place("x/a.py", 2, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("three", "3"), "x/a.py: the lines that the patch changes are not there"),
        (TEXT + TEXT, "x/a.py: the lines that the patch changes are there 2 times"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        apply(PATCH, lambda name: text)


def test_a_patch_of_nothing_is_refused() -> None:
    with pytest.raises(CourseError, match="changes no file"):
        apply("", lambda name: "")


@pytest.mark.parametrize("fault", faults.read_all(), ids=lambda fault: fault.patch.stem)
def test_every_fault_applies_and_is_noticed(fault: faults.Fault, tmp_path: Path) -> None:
    assert list(faults.complaints(fault, tmp_path)) == []


def test_a_patch_that_no_longer_applies_is_named(tmp_path: Path) -> None:
    fault = faults.find(1)
    stale = tmp_path / "01-stale.patch"
    stale.write_text(fault.patch.read_text().replace("release(sequence)", "let_go(sequence)"))
    with pytest.raises(CourseError, match=r"01-stale\.patch no longer applies"):
        faults.Fault(1, stale, fault.facts).modules()


def test_from_start_to_mended(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    lab, fault = FaultLab(log, tmp_path), faults.find(1)
    with pytest.raises(CourseError, match="fault 1 is not started"):
        lab.check(fault, "engine.py:1")
    folder = lab.start(fault)
    mine = folder / "llm_engine/scheduler/scheduler.py"
    ours = (overlay.ENGINE / "scheduler/scheduler.py").read_text()
    assert mine.read_text() != ours
    _, (place,) = fault.modules()
    where = f"services/engine/llm_engine/{place.file}:{place.last - 1}"
    with pytest.raises(UsageError, match="'scheduler' is no place"):
        lab.check(fault, "scheduler")
    with pytest.raises(CourseError, match="is not where it comes from"):
        lab.check(fault, f"{place.file}:{place.last + 5}")
    with pytest.raises(CourseError, match="the symptom is still there"):
        lab.check(fault, where)
    assert lab.state(fault) == "located"
    mine.write_text(ours)
    assert lab.start(fault) == folder
    assert mine.read_text() == ours, "a second start leaves the work"
    assert 0 <= lab.check(fault, where) < 600
    assert lab.state(fault) == "mended"
    assert [event.facts["event"] for event in log.of("exercise", "4.5")] == [
        "fault started", "fault missed", "fault located", "fault mended"
    ]  # fmt: skip
