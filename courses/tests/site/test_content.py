"""The pages that are there keep the syllabus's promises, as far as they go."""

from __future__ import annotations

import pytest

from llm_course.paths import DOCS, ROOT
from llm_course.site.pages import module_pages
from llm_course.syllabus import Module, load

MODULES = load().modules


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.slug)
def test_a_module_has_its_index_and_pages_only_of_its_own_topics(module: Module) -> None:
    assert (DOCS / "modules" / module.slug / "index.md").is_file()
    numbers = {topic.number for topic in module.topics}
    for page in module_pages(ROOT, module.slug):
        assert set(page.topics) <= numbers, page.path
        assert page.module == module.number
