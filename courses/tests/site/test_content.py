"""The pages that are there keep the syllabus's promises, as far as they go."""

from __future__ import annotations

import pytest

from llm_course.exercises import faults
from llm_course.exercises.exercise import read_all
from llm_course.paths import DOCS, ROOT
from llm_course.site.generate import task_pages
from llm_course.site.pages import module_pages
from llm_course.site.parts import EXERCISES
from llm_course.syllabus import Module, load

MODULES = load().modules


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.slug)
def test_a_module_has_its_index_and_pages_only_of_its_own_topics(module: Module) -> None:
    assert (DOCS / "modules" / module.slug / "index.md").is_file()
    numbers = {topic.number for topic in module.topics}
    for page in module_pages(ROOT, module.slug):
        assert set(page.topics) <= numbers, page.path
        assert page.module == module.number


WRITTEN = [module for module in MODULES if module_pages(ROOT, module.slug)]
QUIZ_HOURS = 1.0


@pytest.mark.parametrize("module", WRITTEN, ids=lambda module: module.slug)
def test_every_topic_of_a_written_module_has_its_page(module: Module) -> None:
    taught = {number for page in module_pages(ROOT, module.slug) for number in page.topics}
    assert taught == {topic.number for topic in module.topics}


@pytest.mark.parametrize("module", WRITTEN, ids=lambda module: module.slug)
def test_every_exercise_of_a_written_module_is_there(module: Module) -> None:
    there = {exercise.number for exercise in read_all()} | {faults.EXERCISE}
    assert {exercise.number for exercise in module.exercises} <= there


def test_the_fault_lab_has_a_page_like_its_siblings() -> None:
    page = task_pages(ROOT)[f"{EXERCISES}/{faults.EXERCISE}.md"]
    assert isinstance(page, str)
    for fault in faults.read_all():
        assert f"| {fault.number} | {fault.facts.title} | {'required' if fault.facts.required else 'stretch'} |" in page


@pytest.mark.parametrize("module", WRITTEN, ids=lambda module: module.slug)
def test_the_core_path_takes_the_hours_that_the_outline_gives_it(module: Module) -> None:
    pages = sum(page.hours for page in module_pages(ROOT, module.slug) if not page.stretch)
    core = [each.facts for each in read_all() if each.facts.module == module.number and each.facts.path == "core"]
    required = sum(fault.facts.required for fault in faults.read_all()) if module.number == 4 else 0
    low, high = module.hours
    assert low <= pages + sum(facts.hours for facts in core) + required * faults.HOURS_PER_FAULT + QUIZ_HOURS <= high
