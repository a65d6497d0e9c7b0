"""The syllabus has every number of the outline, and refuses a file that breaks a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_course import syllabus
from llm_course.syllabus import SyllabusError, load

# module: hours, pass mark, topics, exercises, projects, sum of the time breakdown
OUTLINE = {
    1: ((10, 12), 80, 15, 5, 0, (10, 13)),
    2: ((20, 25), 85, 15, 7, 0, (24, 29)),
    3: ((25, 30), 80, 15, 8, 0, (30, 35)),
    4: ((20, 25), 85, 14, 7, 0, (23, 28)),
    5: ((15, 20), 80, 13, 7, 0, (18, 24)),
    6: ((15, 20), 85, 14, 7, 0, (19, 25)),
    7: ((20, 25), None, 0, 0, 7, (20, 27)),
    8: ((15, 20), 80, 14, 7, 0, (16, 22)),
    9: ((15, 20), None, 0, 0, 0, (17, 22)),
}


@pytest.mark.parametrize("number", OUTLINE)
def test_a_module_has_the_numbers_of_the_outline(number: int) -> None:
    module = load().module(number)
    low = sum(share.hours[0] for share in module.time)
    high = sum(share.hours[1] for share in module.time)
    counts = (len(module.topics), len(module.exercises), len(module.projects))
    assert (module.hours, module.pass_mark, *counts, (low, high)) == OUTLINE[number]
    assert len(module.objectives) == len(module.criteria) == 5
    assert len(module.deliverables) == (4 if number == 1 else 5)


def test_the_whole_has_the_numbers_of_the_outline() -> None:
    course = load()
    assert (course.hours, course.final_pass_mark, len(course.modules)) == ((150, 175), 85, 9)
    assert [len(category.points) for category in course.module(9).interview] == [20, 15, 10, 12, 13]
    assert [mock.minutes for mock in course.module(9).mocks] == [(45, 60), (45, 60), (30, 30)]
    assert len(course.module(9).practice) == 5
    assert [len(project.requirements) for project in course.module(7).projects] == [5] * 7
    assert [len(project.criteria) for project in course.module(7).projects] == [4] * 7


def test_names_and_keys() -> None:
    module = load().module(2)
    assert (module.topics[4].name, module.exercises[4].number) == ("T2.5", "2.5")
    assert module.topics[4].title == "Continuous batching compared with static batching"
    assert load().exercise("2.3").title == "Implement a simple block manager simulator in Python"
    assert (module.criteria[2].key, module.deliverables[1].key) == ("2/3", "2/block-manager")
    with pytest.raises(SyllabusError, match="no module 10"):
        load().module(10)
    with pytest.raises(SyllabusError, match=r"no exercise '2\.8'"):
        load().exercise("2.8")


def broken(tmp_path: Path, change: Any) -> Path:
    """Write the syllabus to a file after `change` has altered its module 2."""
    fields = yaml.safe_load(syllabus.FILE.read_text(encoding="utf-8"))
    change(fields["modules"][1])
    file = tmp_path / "syllabus.yaml"
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda module: module.pop("title"), r"modules\[2\]\.title is missing"),
        (lambda module: module.update(tittle="x"), r"modules\[2\]\.tittle is unknown"),
        (lambda module: module.update(hours=[25, 20]), r"modules\[2\]\.hours: \[least, most\]"),
        (lambda module: module.update(hours=20), r"modules\[2\]\.hours: \[least, most\]"),
        (lambda module: module.update(pass_mark="85%"), r"modules\[2\]\.pass_mark: a whole number"),
        (lambda module: module.update(topics=[]), r"modules\[2\]\.topics: a list"),
        (lambda module: module.update(topics=["a", "a"]), r"modules\[2\]\.topics: an entry stands there twice"),
        (lambda module: module["exercises"].pop(0), r"modules\[2\]\.exercises: the numbers are 2\.2, "),
        (lambda module: module["exercises"][0].pop("title"), r"modules\[2\]\.exercises\[1\]\.title is missing"),
        (lambda module: module.update(slug="core"), r"modules\[2\]\.slug: 'core'"),
        (lambda module: module.update(number=3), r"does not begin with 03-"),
        (lambda module: module["criteria"].append(3), r"modules\[2\]\.criteria\[6\]: text"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(SyllabusError, match=message):
        load(broken(tmp_path, change))


def test_text_that_is_no_yaml_is_an_error_of_the_course(tmp_path: Path) -> None:
    file = tmp_path / "syllabus.yaml"
    file.write_text("title: [", encoding="utf-8")
    with pytest.raises(SyllabusError):
        load(file)
