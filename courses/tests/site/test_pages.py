"""Pages of modules: what their front matter has to say, and what they show."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_course.site.pages import PageError, module_pages

SLUG = "02-core-concepts"


def test_a_page_knows_its_topics_and_its_files(root: Path) -> None:
    (page,) = module_pages(root, SLUG)
    assert (page.title, page.module, page.topics, page.hours, page.stretch) == ("Why blocks", 2, (2, 3), 0.5, False)
    assert page.sources == (("services/engine/pool.py", "Pool.take"),)
    assert page.files == ("services/engine/pool.py",)


def test_pages_come_in_the_order_of_their_topics(root: Path) -> None:
    for name, topics in (("a", [9]), ("b", [1, 12])):
        text = f"---\ntitle: {name}\nmodule: 2\ntopics: {topics}\nhours: 1\nstretch: true\n---\n"
        (root / "docs" / "modules" / SLUG / f"{name}.md").write_text(text)
    assert [page.title for page in module_pages(root, SLUG)] == ["b", "Why blocks", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: Why blocks\n", ""), "title is None"),
        (("module: 2", "module: two"), "module is 'two'"),
        (("module: 2", "module: 3"), "module is 3"),
        (("topics: [2, 3]", "topics: []"), r"topics is \[\]"),
        (("hours: 0.5", "hours: 40"), "hours is 40"),
        (("hours: 0.5", "hours: ["), "front matter"),
        (("---\n", ""), "title is None"),
    ],
)
def test_a_rule_that_is_broken_is_named(root: Path, change: tuple[str, str], message: str) -> None:
    page = root / "docs" / "modules" / SLUG / "why-blocks.md"
    page.write_text(page.read_text().replace(*change))
    with pytest.raises(PageError, match=rf"docs/modules/{SLUG}/why-blocks\.md.*{message}"):
        module_pages(root, SLUG)
